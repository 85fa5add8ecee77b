//! `sublet ps`: leases, all of them or those that are wanted.

use crate::Done;
use crate::command::lease::list;
use crate::desk::Desk;
use crate::template::Template;
use api::shapes::{HealthState, Lease, LeaseState, Party, RunOptions, Side};
use clap::Args;
use serde_json::json;
use std::str::FromStr;

/// Which leases to list.
#[derive(Args, Debug)]
pub struct PsArgs {
    /// Those that have ended in the last 30 days, too.
    #[arg(short, long)]
    all: bool,
    /// Only those that are so: id, side, state, image, host, tenant, name (what the guest calls itself), health or label, such as
    /// state=running or label=team=blue. May be given several times.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Print a line for each, such as '{{.id}} {{.standing.state}} {{.workload.reference}}', or json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Print ids alone.
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
}

/// What a lease has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    key: Key,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Side,
    State,
    Image,
    Host,
    Tenant,
    Name,
    Label,
    Health,
}

const KEYS: [(&str, Key); 9] = [
    ("id", Key::Id),
    ("side", Key::Side),
    ("state", Key::State),
    ("image", Key::Image),
    ("host", Key::Host),
    ("tenant", Key::Tenant),
    ("name", Key::Name),
    ("label", Key::Label),
    ("health", Key::Health),
];

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        let known = || KEYS.map(|(name, _)| name).join(", ");
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("write KEY=VALUE; keys are {}", known()))?;
        let key = KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
        let key = key.ok_or_else(|| format!("there is no key `{name}`; there are {}", known()))?;
        let words: &[&str] = match key {
            Key::State => &STATES.map(|(word, _)| word),
            Key::Side => &["host", "tenant"],
            Key::Health => &HEALTHS.map(|(word, _)| word),
            Key::Id | Key::Image | Key::Host | Key::Tenant | Key::Name | Key::Label => &[],
        };
        if words.is_empty() || words.contains(&value) {
            return Ok(Filter { key, value: value.to_owned() });
        }
        Err(format!("`{value}` is no {name}: write one of {}", words.join(", ")))
    }
}

/// Docker's words, and `none` where nothing is checked.
const HEALTHS: [(&str, Option<HealthState>); 4] = [
    ("starting", Some(HealthState::Starting)),
    ("healthy", Some(HealthState::Healthy)),
    ("unhealthy", Some(HealthState::Unhealthy)),
    ("none", None),
];

const STATES: [(&str, LeaseState); 8] = [
    ("agreed", LeaseState::Agreed),
    ("fetching", LeaseState::Fetching),
    ("starting", LeaseState::Starting),
    ("running", LeaseState::Running),
    ("throttled", LeaseState::Throttled),
    ("frozen", LeaseState::Frozen),
    ("closing", LeaseState::Closing),
    ("ended", LeaseState::Ended),
];

/// What of a lease can be filtered by.
struct Facts<'a> {
    id: &'a str,
    side: Side,
    state: LeaseState,
    image: &'a str,
    reference: &'a str,
    other: &'a Party,
    peer: &'a str,
    options: &'a RunOptions,
    health: Option<HealthState>,
}

impl<'a> Facts<'a> {
    fn of(lease: &'a Lease) -> Facts<'a> {
        Facts {
            id: &lease.id,
            side: lease.side,
            state: lease.standing.state,
            image: &lease.workload.image,
            reference: &lease.workload.reference,
            other: &lease.other,
            peer: &lease.peer,
            options: &lease.workload.options,
            health: lease.health.as_ref().map(|health| health.state),
        }
    }
}

impl Filter {
    fn fits(&self, lease: &Facts<'_>) -> bool {
        let value = self.value.as_str();
        match self.key {
            Key::Id => lease.id.starts_with(&value.to_ascii_lowercase()),
            Key::Side => (value == "host") == (lease.side == Side::Host),
            Key::State => STATES.contains(&(value, lease.state)),
            Key::Image => {
                let named = lease.reference.strip_prefix(value);
                let digits = value.trim_start_matches("sha256:");
                let digest = lease.image.trim_start_matches("sha256:");
                !digits.is_empty()
                    && (named.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
                        || digest.starts_with(digits))
            }
            Key::Host => lease.side == Side::Tenant && is(lease.other, lease.peer, value),
            Key::Tenant => lease.side == Side::Host && is(lease.other, lease.peer, value),
            Key::Health => HEALTHS.contains(&(value, lease.health)),
            Key::Name => lease.options.hostname.as_deref() == Some(value),
            Key::Label => match value.split_once('=') {
                Some((name, value)) => lease.options.labels.get(name).is_some_and(|found| found == value),
                None => lease.options.labels.contains_key(value),
            },
        }
    }
}

fn is(party: &Party, peer: &str, value: &str) -> bool {
    let digits = value.to_ascii_lowercase();
    party.name.as_deref() == Some(value)
        || !digits.is_empty() && [&party.device, &party.person, peer].iter().any(|id| id.starts_with(&digits))
}

/// Whether a lease is as wanted: with several of one key, one is enough; each label has to be there.
fn fit(filters: &[Filter], lease: &Facts<'_>) -> bool {
    filters.iter().all(|filter| {
        let alike = filters.iter().filter(|other| other.key == filter.key);
        if filter.key == Key::Label {
            filter.fits(lease)
        } else {
            alike.into_iter().any(|alike| alike.fits(lease))
        }
    })
}

/// Lists leases.
pub async fn ps(desk: &Desk<'_>, args: &PsArgs) -> Done {
    // Who asks for those that have ended wants to see them.
    let ended = args.filter.iter().any(|filter| filter.key == Key::State && filter.value == "ended");
    let mut leases = desk.client.all_leases(args.all || ended).await?;
    leases.retain(|lease| fit(&args.filter, &Facts::of(lease)));
    if args.quiet && !desk.out.is_json() {
        leases.iter().try_for_each(|lease| desk.out.line(&lease.id))?;
        return Ok(0);
    }
    if let Some(template) = &args.format {
        for lease in &leases {
            desk.out.line(template.fill(lease)?)?;
        }
        return Ok(0);
    }
    desk.out.either(&json!({ "leases": leases }), || list(desk, &leases)).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(filters: &[&str]) -> bool {
        let other = Party { person: "c0".into(), device: "d0".into(), name: Some("inn".into()) };
        let options = RunOptions {
            hostname: Some("web".into()),
            labels: [("team".into(), "blue".into())].into(),
            ..RunOptions::default()
        };
        let lease = Facts {
            id: "ab12",
            side: Side::Tenant,
            state: LeaseState::Running,
            image: "sha256:77aa",
            reference: "busybox:1",
            other: &other,
            peer: "99",
            options: &options,
            health: Some(HealthState::Healthy),
        };
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        fit(&filters, &lease)
    }

    #[test]
    fn a_lease_is_found_by_each_key() {
        for filter in [
            "id=AB",
            "side=tenant",
            "state=running",
            "image=busybox",
            "image=busybox:1",
            "image=77",
            "host=inn",
            "host=d0",
            "host=99",
            "name=web",
            "label=team",
            "label=team=blue",
            "health=healthy",
        ] {
            assert!(fits(&[filter]), "{filter}");
        }
        for filter in [
            "id=b",
            "side=host",
            "state=frozen",
            "image=busy",
            "image=",
            "host=in",
            "host=",
            "tenant=inn",
            "name=w",
            "label=tea",
            "label=team=red",
            "health=none",
        ] {
            assert!(!fits(&[filter]), "{filter}");
        }
    }

    #[test]
    fn one_of_a_key_is_enough_and_every_key_and_label_counts() {
        assert!(fits(&[]) && fits(&["state=frozen", "state=running"]));
        assert!(!fits(&["state=running", "name=other"]));
        assert!(!fits(&["label=team", "label=other"]));
    }

    #[test]
    fn what_nobody_is_names_what_there_is() {
        for (text, said) in [
            ("state", "KEY=VALUE"),
            ("colour=red", "label"),
            ("state=happy", "throttled"),
            ("side=both", "tenant"),
        ] {
            assert!(text.parse::<Filter>().unwrap_err().contains(said), "{text}");
        }
    }
}
