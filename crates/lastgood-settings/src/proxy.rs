//! Which proxy leads out.

use lastgood::proxy::{Proxies, ProxyError, ProxyVariables};
use secrecy::{ExposeSecret, SecretString};

use crate::problem::Wrong;
use crate::value::Raw;

/// The proxy settings, and what follows from them.
#[derive(Debug, Clone, Default)]
pub struct ProxySetting {
    said: Said,
    proxies: Proxies,
}

#[derive(Debug, Clone, Default)]
enum Said {
    /// Nothing: the conventional variables count.
    #[default]
    Nothing,
    Off,
    Url(SecretString),
}

impl ProxySetting {
    /// The proxies by which upstreams are reached.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Takes the conventional variables in, where they count: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` unless a proxy or
    /// `off` is set, and `NO_PROXY` always.
    pub(crate) fn complete(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Wrong> {
        let conventional = conventional_proxies(env);
        let said = match &self.said {
            Said::Off => ProxyVariables::default(),
            Said::Url(url) => {
                ProxyVariables { all: url.expose_secret().to_owned(), no: conventional.no, ..ProxyVariables::default() }
            }
            Said::Nothing => conventional,
        };
        self.proxies = Proxies::new(&said).map_err(|why| {
            let wrong = Wrong::new(format!("the variable {} {}", why.variable, why.problem));
            wrong.hint(format!("{}; or set LASTGOOD_PROXY=off", ProxyError::HINT))
        })?;
        Ok(())
    }
}

/// What the conventional variables say. As with curl, those in lower case come first.
pub fn conventional_proxies(env: &dyn Fn(&str) -> Option<String>) -> ProxyVariables {
    let variable = |name: &str| {
        let is_set = |value: &String| !value.trim().is_empty();
        env(&name.to_ascii_lowercase()).filter(is_set).or_else(|| env(name).filter(is_set)).unwrap_or_default()
    };
    ProxyVariables {
        http: variable("HTTP_PROXY"),
        https: variable("HTTPS_PROXY"),
        all: variable("ALL_PROXY"),
        no: variable("NO_PROXY"),
    }
}

/// Reads a proxy's URL, or `off`; empty leaves it to the conventional variables.
pub(crate) fn parse(raw: &Raw) -> Result<ProxySetting, Wrong> {
    let Some(text) = raw.string() else {
        return Err(Wrong::new("expected a string").hint("write \"http://proxy.example:3128\" or \"off\""));
    };
    let said = match text.trim() {
        "" => Said::Nothing,
        off if off.eq_ignore_ascii_case("off") => Said::Off,
        url => Said::Url(SecretString::from(url)),
    };
    let mut setting = ProxySetting { said, proxies: Proxies::default() };
    if let Said::Url(url) = &setting.said {
        let said = ProxyVariables { all: url.expose_secret().to_owned(), ..ProxyVariables::default() };
        setting.proxies = Proxies::new(&said).map_err(|why| {
            Wrong::new(format!("the value {}", why.problem)).hint(format!("{}, or off", ProxyError::HINT))
        })?;
    }
    Ok(setting)
}

/// As it would be written, without user and password.
pub(crate) fn show(setting: &ProxySetting) -> String {
    match &setting.said {
        Said::Nothing => String::new(),
        Said::Off => "off".to_owned(),
        Said::Url(url) => {
            let url = url.expose_secret();
            let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(said: &str, env: &[(&str, &str)]) -> Result<String, Wrong> {
        let look_up = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut setting = parse(&Raw::text(said))?;
        setting.complete(&look_up)?;
        let way = setting.proxies().of(&"https://api.binance.com".parse().unwrap());
        Ok(way.map_or("direct".to_owned(), |proxy| proxy.to_string()))
    }

    #[test]
    fn a_key_overrides_the_conventional_variables_and_off_switches_them_off() {
        let by = |said, env: &[(&str, &str)]| way(said, env).unwrap();
        let both =
            [("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:2"), ("ALL_PROXY", "http://all:3")];
        assert_eq!(by("", &[]), "direct");
        assert_eq!(by("", &both), "lower:2");
        assert_eq!(by("", &both[..1]), "upper:1");
        assert_eq!(by("", &both[2..]), "all:3");
        assert_eq!(by("", &[("HTTPS_PROXY", " "), ("all_proxy", "all:3")]), "all:3");
        assert_eq!(by("", &[("HTTP_PROXY", "http://plain:4")]), "direct");
        assert_eq!(by("http://own:5", &both), "own:5");
        assert_eq!(by("Off", &both), "direct");
        assert_eq!(by("http://own:5", &[("no_proxy", ".binance.com")]), "direct");
        assert_eq!(by("", &[both[0], ("NO_PROXY", "*")]), "direct");
        let wrong = way("", &[("HTTPS_PROXY", "ftp://me:hunter2@x")]).unwrap_err();
        let text = format!("{} {}", wrong.what, wrong.hint.unwrap());
        assert!(
            text.contains("HTTPS_PROXY") && text.contains("LASTGOOD_PROXY=off") && !text.contains("hunter2"),
            "{text}"
        );
        let wrong = parse(&Raw::text("socks4://me:hunter2@x")).unwrap_err();
        let text = format!("{} {}", wrong.what, wrong.hint.unwrap());
        assert!(text.contains("socks5") && !text.contains("hunter2"), "{text}");
        assert_eq!(show(&parse(&Raw::text("socks5h://me:hun@ter2@proxy:1")).unwrap()), "socks5h://proxy:1");
        assert_eq!(show(&parse(&Raw::text("http://me:hunter2@proxy:1")).unwrap()), "http://proxy:1");
    }
}
