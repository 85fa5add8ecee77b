//! Health checks as images have them: docker's `HEALTHCHECK`, which stands beside what OCI says of a configuration.

use model::Span;
use model::document::{HealthCheck, HealthWish};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What of a configuration matters here. The form is docker's: <https://github.com/moby/docker-image-spec>.
#[derive(Deserialize)]
struct Configuration {
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    healthcheck: Option<Healthcheck>,
    #[serde(default)]
    shell: Option<Vec<String>>,
}

/// Lengths of time are nanoseconds; nought is as usual.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    test: Vec<String>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

const MILLISECOND: i64 = 1_000_000;

/// What a configuration says of it. One that cannot be understood says nothing: no image is worse for it.
pub(super) fn read(configuration: &[u8]) -> Option<HealthWish> {
    let config = serde_json::from_slice::<Configuration>(configuration).ok()?.config?;
    let check = config.healthcheck?;
    let span =
        |nanoseconds: i64| (nanoseconds > 0).then(|| Span((nanoseconds / MILLISECOND).max(1).unsigned_abs()));
    let command = match check.test.split_first()? {
        (kind, _) if kind == "NONE" => return Some(HealthWish::Off),
        (kind, words) if kind == "CMD" => words.to_vec(),
        (kind, [script]) if kind == "CMD-SHELL" => {
            let shell = config.shell.filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| ["/bin/sh", "-c"].map(str::to_owned).to_vec());
            shell.into_iter().chain([script.clone()]).collect()
        }
        _ => return None,
    };
    Some(HealthWish::Check(HealthCheck {
        command,
        interval: span(check.interval),
        within: span(check.timeout),
        retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0),
        start_period: span(check.start_period),
        start_interval: span(check.start_interval),
    }))
}

/// The same, written into the configuration of an image of ours.
pub(super) fn write(configuration: &mut Value, wish: &HealthWish) {
    let nanoseconds = |span: Option<Span>| {
        span.map_or(0, |span| i64::try_from(span.0).unwrap_or(i64::MAX).saturating_mul(MILLISECOND))
    };
    let check = match wish {
        HealthWish::Off => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
        HealthWish::Check(check) => Healthcheck {
            test: ["CMD".to_owned()].into_iter().chain(check.command.clone()).collect(),
            interval: nanoseconds(check.interval),
            timeout: nanoseconds(check.within),
            start_period: nanoseconds(check.start_period),
            start_interval: nanoseconds(check.start_interval),
            retries: check.retries.unwrap_or(0).into(),
        },
    };
    configuration["config"]["Healthcheck"] = json!(check);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &Value) -> Option<HealthWish> {
        read(json!({ "os": "linux", "config": config }).to_string().as_bytes())
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn docker_s_healthcheck_is_understood() {
        let test = json!(["CMD-SHELL", "curl -f http://localhost/ || exit 1"]);
        let check = json!({ "Test": test, "Interval": 5_000_000_000_i64, "Timeout": 1, "Retries": 4 });
        let expected = HealthCheck {
            command: words(&["/bin/sh", "-c", "curl -f http://localhost/ || exit 1"]),
            interval: Some(Span::seconds(5)),
            within: Some(Span(1)),
            retries: Some(4),
            ..HealthCheck::default()
        };
        assert_eq!(of(&json!({ "Healthcheck": check })), Some(HealthWish::Check(expected)));
        let shell =
            of(&json!({ "Healthcheck": { "Test": ["CMD-SHELL", "x y"] }, "Shell": ["/bin/bash", "-ec"] }));
        let Some(HealthWish::Check(check)) = shell else { panic!("{shell:?}") };
        assert_eq!(check.command, words(&["/bin/bash", "-ec", "x y"]));
        let plain = of(&json!({ "Healthcheck": { "Test": ["CMD", "/check", "it"] } }));
        let Some(HealthWish::Check(check)) = plain else { panic!("{plain:?}") };
        assert_eq!(check, HealthCheck { command: words(&["/check", "it"]), ..HealthCheck::default() });
        assert_eq!(of(&json!({ "Healthcheck": { "Test": ["NONE"] } })), Some(HealthWish::Off));
    }

    #[test]
    fn what_cannot_be_understood_says_nothing() {
        for nothing in [
            json!({}),
            json!({ "Healthcheck": null }),
            json!({ "Healthcheck": {} }),
            json!({ "Healthcheck": { "Test": [] } }),
            json!({ "Healthcheck": { "Test": ["CMD-SHELL"] } }),
            json!({ "Healthcheck": { "Test": ["WHAT", "x"] } }),
            json!({ "Healthcheck": { "Test": "CMD x" } }),
            json!({ "Healthcheck": { "Test": ["CMD", "x"], "Interval": "5s" } }),
        ] {
            assert_eq!(of(&nothing), None, "{nothing}");
        }
        assert_eq!(read(b"what"), None);
        let odd = of(&json!({ "Healthcheck": { "Test": ["CMD", "x"], "Interval": -5, "Retries": -1 } }));
        let plain = HealthCheck { command: words(&["x"]), ..HealthCheck::default() };
        assert_eq!(odd, Some(HealthWish::Check(plain)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let check = HealthCheck {
            command: words(&["/bin/sh", "-c", "true"]),
            interval: Some(Span::seconds(7)),
            start_period: Some(Span::minutes(1)),
            start_interval: Some(Span::seconds(2)),
            ..HealthCheck::default()
        };
        for wish in [HealthWish::Off, HealthWish::Check(check)] {
            let mut configuration = json!({ "os": "linux", "config": { "Cmd": ["x"] } });
            write(&mut configuration, &wish);
            assert_eq!(read(configuration.to_string().as_bytes()), Some(wish));
            assert_eq!(configuration["config"]["Cmd"], json!(["x"]));
        }
    }
}
