//! Stopping when asked to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::complain;

/// Listens for SIGINT and SIGTERM from now on; the future completes at the first, and the second ends the process at
/// once. Call it before the program says that it is ready: a reader of that line may stop it right away.
pub(crate) fn requested() -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without handlers the signals keep their own effect, which is to stop.
            return std::future::pending().await;
        };
        either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            complain("stopped before all requests were answered");
            std::process::exit(1);
        });
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
