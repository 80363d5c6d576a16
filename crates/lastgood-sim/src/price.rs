//! Prices as a function of symbol and time: smooth waves, and a step of noise every half second.

use std::f64::consts::TAU;

use crate::random::fraction;
use crate::symbols::Symbol;

/// How long a price stands, in ms.
pub(crate) const STEP: u64 = 500;

const DAY: f64 = 86_400_000.0;

/// The waves of the logarithm of a price: days of a period, and size.
const WAVES: [(f64, f64); 4] = [(211.0, 0.35), (17.0, 0.07), (1.3, 0.015), (0.11, 0.004)];
const NOISE: f64 = 0.000_6;

/// The price of a symbol at a time in ms.
pub(crate) fn price(symbol: &Symbol, at: u64) -> f64 {
    to_tick(symbol, exact_price(symbol, at))
}

/// The same between two prices that the symbol can have.
pub(crate) fn exact_price(symbol: &Symbol, at: u64) -> f64 {
    let mut drift = (fraction(symbol.salt, 200, at / STEP) - 0.5) * NOISE;
    for ((period, size), number) in WAVES.into_iter().zip(1..) {
        let phase = fraction(symbol.salt, 100, number);
        drift += size * (TAU * (at as f64 / (period * DAY) + phase)).sin();
    }
    symbol.level * drift.exp()
}

/// By which factor no price can rise or fall further within this many ms.
pub(crate) fn reach(millis: u64) -> f64 {
    let wave = |(period, size): (f64, f64)| size * (TAU * millis as f64 / (period * DAY)).min(2.0);
    (WAVES.into_iter().map(wave).sum::<f64>() + NOISE).exp()
}

/// The nearest price that the symbol can have.
pub(crate) fn to_tick(symbol: &Symbol, price: f64) -> f64 {
    let scale = 10f64.powi(symbol.decimals as i32);
    (price * scale).round().max(1.0) / scale
}

/// A price as the market writes it: spot always with eight decimals, futures with the symbol's own.
pub(crate) fn text(symbol: &Symbol, price: f64) -> String {
    match symbol.venue {
        crate::Venue::Spot => decimal(price, 8),
        _ => decimal(price, symbol.decimals),
    }
}

/// A quantity as the market writes it.
pub(crate) fn quantity(symbol: &Symbol, quantity: f64) -> String {
    match symbol.venue {
        crate::Venue::Spot => decimal(quantity, 8),
        _ => decimal(quantity, 3),
    }
}

/// A number with this many decimals. Integers are written in a third of the time that floats take, and lists of tickers
/// hold tens of thousands of numbers.
fn decimal(number: f64, places: usize) -> String {
    let scale = 10u64.pow(places as u32);
    let scaled = (number * scale as f64).round();
    // Beyond this a float no longer tells one integer from the next.
    if places == 0 || scaled.abs() > 9e15 {
        return format!("{number:.places$}");
    }
    let sign = if scaled < 0.0 { "-" } else { "" };
    let scaled = scaled.abs() as u64;
    format!("{sign}{}.{:0places$}", scaled / scale, scaled % scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_as_floats_are() {
        for places in [0, 2, 3, 5, 8] {
            for number in [0.0, 1.0, 0.1, 61_234.56, 0.000_017, 99_999.999, 123_456_789.25, -0.5, -12.345_678_9, 1e300]
            {
                assert_eq!(decimal(number, places), format!("{number:.places$}"), "{number} {places}");
            }
        }
    }
}
