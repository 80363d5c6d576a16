//! `lastgood sim`: the simulated exchange alone.

use std::net::SocketAddr;

use lastgood_sim::{Sim, SimConfig};

use crate::output::{Failure, say};
use crate::serve::bind;
use crate::shutdown;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood sim
  lastgood sim --listen 127.0.0.1:9100 --seed 7 --symbols 50
  curl http://127.0.0.1:8091/_sim/        its switches: faults, clock, limits
  curl -X POST http://127.0.0.1:8091/_sim/faults -d '{\"kind\":\"lie\",\"lie\":\"holed\",\"times\":1}'
  LASTGOOD_BINANCE_SPOT_URL=http://127.0.0.1:8091 lastgood serve

The same seed gives the same market.")]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
    /// Which market to make up
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How many spot pairs it trades [default: 2400]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    symbols: Option<u32>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = SimConfig::default();
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    if let Some(symbols) = arguments.symbols {
        config.symbols = symbols as usize;
    }
    let listener = bind(arguments.listen, "sim")?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    let shutdown = shutdown::requested();
    say(format!("simulated exchange on http://{address}; its switches: curl http://{address}/_sim/"));
    Sim::new(config)
        .serve(listener, shutdown)
        .await
        .map_err(|error| Failure::failed(format!("failed to serve: {error}")))
}
