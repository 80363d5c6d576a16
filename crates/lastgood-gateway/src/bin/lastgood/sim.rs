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
  lastgood sim --listen 127.0.0.1:9100 --seed 7 --symbols BTCUSDT,ETHUSDT
  LASTGOOD_BINANCE_SPOT_URL=http://127.0.0.1:8091 lastgood serve

The same seed gives the same market.")]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
    /// Which market to make up
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The symbols it trades, comma-separated
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    symbols: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = SimConfig::default();
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    if !arguments.symbols.is_empty() {
        config.symbols = arguments.symbols;
    }
    let listener = bind(arguments.listen, "sim").await?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    say(format!("simulated exchange on http://{address}"));
    Sim::new(config)
        .serve(listener, shutdown::requested())
        .await
        .map_err(|error| Failure::failed(format!("failed to serve: {error}")))
}
