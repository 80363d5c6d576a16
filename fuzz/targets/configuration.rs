//! Configuration files: settings, or problems that say where and what.

use lastgood_settings::{ConfigFile, Sources, render_effective, resolve};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = ConfigFile { path: "lastgood.toml".to_owned(), text: text.to_owned() };
    let env = |name: &str| (name == "SECRET").then(|| "0123456789abcdef0123456789abcdef".to_owned());
    let sources = Sources { file: Some(file), env: &env, env_names: Vec::new(), flags: Vec::new() };
    match resolve(&sources) {
        Ok(resolved) => assert!(!render_effective(&resolved).is_empty(), "settings can be shown"),
        Err(problems) => assert!(!problems.to_string().is_empty(), "a refusal says why"),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../lastgood.example.toml"),
        "listen = \"127.0.0.1:8080\"\nstore = \"redis://127.0.0.1:6379/0\"\npreset = \"trading\"\n",
        "[regions.klines]\nfresh_for = \"2s\"\nstale_if_error = \"forever\"\n[regions.prices]\njitter = 0.5\n",
        "[[routes]]\nname = \"price\"\npath = \"/price/{symbol}\"\nurl = \"https://example.org/{symbol}\"\n\
         [routes.parameters.symbol]\ntype = \"text\"\npattern = \"[A-Z]{2,9}\"\n",
        "[admin]\ntoken = \"${SECRET}\"\n[log]\nlevel = \"info\"\n[memory]\nlimit = \"64MiB\"\n",
    ];
    files.iter().map(|file| file.as_bytes().to_vec()).collect()
}
