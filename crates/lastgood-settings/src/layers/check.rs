//! Checks once all layers are in: settings that belong together, and those that are allowed and probably not meant.

use lastgood_market::upstream::mixed;
use lastgood_routes::suggest::did_you_mean;
use secrecy::ExposeSecret;

use super::Layers;
use crate::duration::format_duration;
use crate::problem::{Origin, Problem, Wrong};
use crate::regions::REGION_NAMES;
use crate::routes::region_of;
use crate::settings::Settings;
use crate::{address, listening};

/// Below this an admin token can be guessed.
const SHORTEST_TOKEN: usize = 16;

impl Layers {
    /// Other machines get in with a token or not at all.
    pub(super) fn check_exposure(&mut self) {
        let listen = self.settings.listen;
        let open = !address::is_loopback(listen) && self.settings.admin.token.is_none();
        if open && !self.is_refused("listen") && !self.is_refused("admin.token") {
            let origin = self.origins.get("listen").cloned().unwrap_or(Origin::Default);
            let wrong = Wrong::new(format!("{listen} can be reached from other machines, and no admin token is set"))
                .hint(format!(
                    "set LASTGOOD_ADMIN_TOKEN (make one with: openssl rand -hex 32), \
                 or listen on 127.0.0.1:{}",
                    listen.port()
                ));
            self.refuse(origin, "listen", wrong);
        }
    }

    pub(super) fn check_certificate(&mut self) {
        if let Some((name, wrong)) = listening::check_pair(&self.settings.tls) {
            let origin = self.origins.get(name).cloned().unwrap_or(Origin::Default);
            self.refuse(origin, name, wrong);
        }
    }

    /// Takes the exchange out where it is off; settings of it cause a warning.
    pub(super) fn switch_off(&mut self) -> Vec<Problem> {
        switch_off(&mut self.settings, self.origins.contains_key("fear_greed.url"));
        let is_unused = |name: &str| name.starts_with("binance.") || name == "warm.markets";
        let set = self.origins.iter().filter(|(name, _)| !self.settings.binance.enabled && is_unused(name));
        let warning = |(name, origin): (&String, &Origin)| {
            let wrong = Wrong::new("not used: binance is off").hint("leave it out, or set binance = \"on\"");
            Problem::new(Some(origin.clone()), Some(name), wrong)
        };
        set.map(warning).collect()
    }

    /// The hosts of one list are one exchange, and the streams of a market are its exchange's.
    pub(super) fn check_exchanges(&mut self) {
        let of = self.settings.binance.clone();
        let lists = [
            ("binance.spot_url", &of.spot_url, &of.spot_url),
            ("binance.futures_url", &of.futures_url, &of.futures_url),
            ("binance.coin_url", &of.coin_url, &of.coin_url),
            ("binance.testnet_spot_url", &of.testnet_spot_url, &of.testnet_spot_url),
            ("binance.testnet_futures_url", &of.testnet_futures_url, &of.testnet_futures_url),
            ("binance.ws_url", &of.ws_url, &of.ws_url),
            ("binance.futures_ws_url", &of.futures_ws_url, &of.futures_ws_url),
            ("binance.ws_url", &of.ws_url, &of.spot_url),
            ("binance.futures_ws_url", &of.futures_ws_url, &of.futures_url),
        ];
        for (name, hosts, others) in lists {
            let Some(mixed) = mixed(hosts, others).filter(|_| !self.is_refused(name)) else { continue };
            let origin = self.origins.get(name).cloned().unwrap_or(Origin::Default);
            let hint = match name.ends_with("ws_url") {
                true => "set the streams of the exchange that binance.spot_url and binance.futures_url name, or none",
                false => "name the hosts of one exchange; run a gateway for each",
            };
            self.refuse(origin, name, Wrong::new(mixed.to_string()).hint(hint));
        }
    }

    pub(super) fn check_timeouts(&mut self) {
        let hard_timeouts: Vec<_> =
            self.settings.policies().map(|(region, policy)| (region, policy.hard_timeout)).collect();
        for (region, hard) in hard_timeouts {
            if self.settings.region(&region).policy.soft_timeout.is_some_and(|soft| soft > hard) {
                let name = format!("regions.{region}.soft_timeout");
                let origin = self.origins.get(&name).cloned().unwrap_or(Origin::Default);
                let wrong =
                    Wrong::new(format!("the soft timeout is longer than the hard one, {}", format_duration(hard)))
                        .hint("the soft timeout comes first, the hard one gives up");
                self.refuse(origin, &name, wrong);
            }
        }
    }

    /// Flags may declare a region, too, so that only now they are all known.
    pub(super) fn check_regions_of_routes(&mut self) {
        let regions: Vec<String> = self.settings.application_regions().into_iter().map(|(name, _)| name).collect();
        for route in self.settings.declared.routes.clone() {
            if !regions.contains(&route.region) {
                let hint = did_you_mean(&route.region, regions.iter().map(String::as_str));
                let hint = hint.unwrap_or_else(|| match REGION_NAMES.contains(&route.region.as_str()) {
                    true => "this region is the exchange's; declare another in [regions.NAME]".to_owned(),
                    false => format!("declare it with [regions.{}]", route.region),
                });
                let wrong = Wrong::new(format!("there is no region {:?} for routes", route.region)).hint(hint);
                let origin = self.settings.declared.origin(&region_of(&route.path));
                self.refuse(origin, "routes.region", wrong);
            }
        }
    }

    pub(super) fn weak_token(&self) -> Option<Problem> {
        let token = self.settings.admin.token.as_ref()?;
        let origin = self.origins.get("admin.token").cloned();
        (token.expose_secret().len() < SHORTEST_TOKEN).then(|| {
            let wrong =
                Wrong::new(format!("the admin token is shorter than {SHORTEST_TOKEN} characters and can be guessed"))
                    .hint("make one with: openssl rand -hex 32");
            Problem::new(origin, Some("admin.token"), wrong)
        })
    }
}

/// Takes the exchange out of the settings where it is off. The site of the index stays where somebody named it.
fn switch_off(settings: &mut Settings, names_the_index: bool) {
    let binance = &mut settings.binance;
    if binance.enabled {
        return;
    }
    let lists = [
        &mut binance.spot_url,
        &mut binance.futures_url,
        &mut binance.coin_url,
        &mut binance.options_url,
        &mut binance.portfolio_url,
        &mut binance.testnet_spot_url,
        &mut binance.testnet_futures_url,
        &mut binance.ws_url,
        &mut binance.futures_ws_url,
    ];
    lists.into_iter().for_each(Vec::clear);
    settings.warm.markets.clear();
    if !names_the_index {
        settings.fear_greed.url = None;
    }
}
