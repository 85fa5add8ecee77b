//! Health checks, as docker's options have them.

use crate::parse;
use api::shapes::{Health, HealthCheck, HealthState, HealthWish, Seconds};
use clap::Args;

/// How to see whether a guest is well.
#[derive(Args, Debug)]
#[command(next_help_heading = "How it is seen whether it is well")]
pub struct HealthArgs {
    /// A command for the shell of the image, run in the guest: it is well when that ends with 0 [default: the image's own check].
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// From the end of one check to the beginning of the next [default: as the image says, or 30s].
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    health_interval: Option<Seconds>,
    /// A check that takes longer has failed [default: as the image says, or 30s].
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    health_timeout: Option<Seconds>,
    /// So many failures in a row make it unwell [default: as the image says, or 3].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    health_retries: Option<u32>,
    /// In its first time failures do not count, until it was well for once [default: as the image says, or 0s].
    #[arg(long, value_name = "TIME", value_parser = parse::time_or_nought)]
    health_start_period: Option<Seconds>,
    /// From check to check in its first time [default: as the image says, or 5s].
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    health_start_interval: Option<Seconds>,
    /// Check nothing, whatever the image says.
    #[arg(
        long,
        conflicts_with_all = [
            "health_cmd",
            "health_interval",
            "health_timeout",
            "health_retries",
            "health_start_period",
            "health_start_interval",
        ]
    )]
    no_healthcheck: bool,
}

impl HealthArgs {
    /// What was typed; none: as the image says.
    pub fn wish(&self) -> Option<HealthWish> {
        if self.no_healthcheck {
            return Some(HealthWish::Off);
        }
        let shell = |script: &String| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone()];
        let check = HealthCheck {
            command: self.health_cmd.as_ref().map(shell).unwrap_or_default(),
            interval: self.health_interval,
            within: self.health_timeout,
            retries: self.health_retries,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
        };
        (check != HealthCheck::default()).then_some(HealthWish::Check(check))
    }
}

/// In a word, as docker says it.
pub fn word(state: HealthState) -> &'static str {
    match state {
        HealthState::Starting => "health: starting",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
}

/// Why a guest is not well.
pub fn why(health: &Health) -> String {
    let Some(last) = &health.last else { return "it was not checked yet".to_owned() };
    let failures = match health.failing {
        1 => "its last check failed".to_owned(),
        failing => format!("its last {failing} checks failed"),
    };
    match (last.output.trim(), last.exit_code) {
        ("", Some(code)) => format!("{failures}, with exit code {code}"),
        (output, _) => format!("{failures}: {}", output.lines().collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::node::model::{Span, Timestamp};
    use api::shapes::{HealthChecked, Moment};
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        health: HealthArgs,
    }

    fn typed(words: &str) -> Result<Option<HealthWish>, String> {
        let words = std::iter::once("run").chain(words.split_whitespace());
        Typed::try_parse_from(words).map(|typed| typed.health.wish()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_read_as_docker_s_do() {
        assert_eq!(typed(""), Ok(None));
        assert_eq!(typed("--no-healthcheck"), Ok(Some(HealthWish::Off)));
        let check = HealthCheck {
            command: ["/bin/sh", "-c", "check"].map(str::to_owned).to_vec(),
            interval: Some(Seconds(Span::seconds(5))),
            within: Some(Seconds(Span::seconds(2))),
            retries: Some(1),
            start_period: Some(Seconds(Span::ZERO)),
            start_interval: Some(Seconds(Span::seconds(1))),
        };
        let all = "--health-cmd check --health-interval 5s --health-timeout 2s --health-retries 1 \
                   --health-start-period 0s --health-start-interval 1s";
        assert_eq!(typed(all), Ok(Some(HealthWish::Check(check))));
        let of_image = HealthCheck { retries: Some(9), ..HealthCheck::default() };
        assert_eq!(typed("--health-retries 9"), Ok(Some(HealthWish::Check(of_image))));
        for wrong in ["--health-retries 0", "--health-interval 0s", "--no-healthcheck --health-retries 1"] {
            assert!(typed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn why_a_guest_is_not_well_is_said_in_a_line() {
        let at = Moment(Timestamp(0));
        let health = |failing, exit_code, output: &str| Health {
            state: HealthState::Unhealthy,
            since: at,
            failing,
            last: Some(HealthChecked { at, exit_code, output: output.to_owned() }),
        };
        assert_eq!(why(&health(1, Some(7), "")), "its last check failed, with exit code 7");
        assert_eq!(why(&health(3, None, "too long\nby far\n")), "its last 3 checks failed: too long; by far");
    }
}
