//! Opens the page in a browser.

use std::process::{Command, Stdio};

/// The program that opens an address as the desktop does.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Has the desktop open an address; says whether there is a program that does.
pub(super) fn in_browser(url: &str) -> bool {
    let mut command = Command::new(OPENER);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    // It may go on for as long as the browser does.
    std::thread::spawn(move || child.wait());
    true
}
