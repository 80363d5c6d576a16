//! Prices as a function of symbol and time: smooth waves, and a step of noise every half second.

use std::f64::consts::TAU;

use crate::random::fraction;
use crate::symbols::Symbol;

/// How long a price stands, in ms.
pub(crate) const STEP: u64 = 500;

const DAY: f64 = 86_400_000.0;

/// The price of a symbol at a time in ms.
pub(crate) fn price(symbol: &Symbol, at: u64) -> f64 {
    let wave = |period_days: f64, size: f64, number: u64| {
        let phase = fraction(symbol.salt, 100, number);
        size * (TAU * (at as f64 / (period_days * DAY) + phase)).sin()
    };
    let noise = (fraction(symbol.salt, 200, at / STEP) - 0.5) * 0.000_6;
    let drift = wave(211.0, 0.35, 1) + wave(17.0, 0.07, 2) + wave(1.3, 0.015, 3) + wave(0.11, 0.004, 4) + noise;
    to_tick(symbol, symbol.level * drift.exp())
}

/// The nearest price that the symbol can have.
pub(crate) fn to_tick(symbol: &Symbol, price: f64) -> f64 {
    let scale = 10f64.powi(symbol.decimals as i32);
    (price * scale).round().max(1.0) / scale
}

/// A price as the market writes it: spot always with eight decimals, futures with the symbol's own.
pub(crate) fn text(symbol: &Symbol, price: f64) -> String {
    match symbol.venue {
        crate::Venue::Spot => format!("{price:.8}"),
        _ => format!("{price:.*}", symbol.decimals),
    }
}

/// A quantity as the market writes it.
pub(crate) fn quantity(symbol: &Symbol, quantity: f64) -> String {
    match symbol.venue {
        crate::Venue::Spot => format!("{quantity:.8}"),
        _ => format!("{quantity:.3}"),
    }
}
