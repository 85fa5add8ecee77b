//! What people type: sizes, times, cores, prices, ports.

use api::node::model::{Amount, NetworkPolicy, Span, Timestamp};
use api::shapes::{Moment, Money, Network, Port, Protocol, Seconds};

/// `512M`, `2G`, `1GiB`, `1.5g`, `1048576`: bytes, in powers of 1024 as for memory.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write for example 512M, 2G or 1.5GiB");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..at].trim(), text[at..].to_ascii_lowercase());
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * f64::from(power).exp2();
    // Up to here each whole number of bytes is a float of its own.
    if (0.0..9.0e15).contains(&bytes) { Ok(bytes.round() as u64) } else { Err(wrong()) }
}

/// `90s`, `5m`, `2h`, `7d`, `1h 30m`.
pub fn time(text: &str) -> Result<Seconds, String> {
    match time_or_nought(text)? {
        Seconds(Span::ZERO) => Err(no_time(text)),
        time => Ok(time),
    }
}

/// The same, or `0s`.
pub fn time_or_nought(text: &str) -> Result<Seconds, String> {
    let time = humantime::parse_duration(text).map_err(|_| no_time(text))?;
    Ok(Seconds(Span::from(time)))
}

fn no_time(text: &str) -> String {
    format!("`{text}` is no time: write for example 90s, 5m, 2h or 7d")
}

/// `18:30`, the next time that the clocks of this machine show it; or `2026-07-31T18:30:00Z`.
pub fn moment(text: &str) -> Result<Moment, String> {
    let wrong = || format!("`{text}` is no time: write for example 18:30, or 2026-07-31T18:30:00Z");
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Moment(Timestamp(at.as_millisecond())));
    }
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (hour, minute) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    let clock = jiff::civil::Time::new(hour, minute, 0, 0).map_err(|_| wrong())?;
    let now = jiff::Zoned::now();
    let on = |date: jiff::civil::Date| {
        date.to_datetime(clock).to_zoned(now.time_zone().clone()).map_err(|_| wrong())
    };
    let today = on(now.date())?;
    let next = if today > now { today } else { on(now.date().tomorrow().map_err(|_| wrong())?)? };
    Ok(Moment(Timestamp(next.timestamp().as_millisecond())))
}

/// How many of the last lines; none: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub Option<u32>);

/// `100`, or `all`.
pub fn tail(text: &str) -> Result<Tail, String> {
    let lines = match text {
        "all" => None,
        number => Some(
            number
                .parse()
                .map_err(|_| format!("`{text}` is no number of lines: write for example 100, or all"))?,
        ),
    };
    Ok(Tail(lines))
}

/// `1`, `0.5`, `2.25`: cores, in thousandths.
pub fn cpus(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no number of cores: write for example 1, 0.5 or 2.25");
    let cores: f64 = text.parse().map_err(|_| wrong())?;
    let millis = (cores * 1_000.0).round();
    if (1.0..=1_024_000.0).contains(&millis) { Ok(millis as u32) } else { Err(wrong()) }
}

/// `0.05 EUR`, `2 credit`.
pub fn price(text: &str) -> Result<Money, String> {
    let amount: Amount =
        text.parse().map_err(|error: api::node::model::amount::NotMoney| error.to_string())?;
    if amount.micros < 0 { Err(format!("`{text}` is below nought")) } else { Ok(amount.into()) }
}

/// `8080:80`, or `80` for a free port here; `5353:53/udp` for datagrams.
pub fn port(text: &str) -> Result<Port, String> {
    let wrong = || {
        format!(
            "`{text}` names no ports: write LOCAL:GUEST, such as 8080:80, or GUEST for a free port here; \
             and /udp after it for datagrams"
        )
    };
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some(_) => return Err(wrong()),
        None => (text, Protocol::Tcp),
    };
    let (local, guest) = ports.split_once(':').unwrap_or(("0", ports));
    let (local, guest) = (local.parse().map_err(|_| wrong())?, guest.parse().map_err(|_| wrong())?);
    if guest == 0 { Err(wrong()) } else { Ok(Port { local, guest, protocol }) }
}

/// `none`, `internet`, `allow:example.org:443,*.example.org:443`.
pub fn network(text: &str) -> Result<Network, String> {
    text.parse::<NetworkPolicy>().map(|policy| Network::from(&policy)).map_err(|error| error.to_string())
}

/// `NAME=value`, or `NAME` for the value that it has here.
pub fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("`{text}` has no name: write NAME=value")),
        Some(_) => Ok(text.to_owned()),
        None => std::env::var(text)
            .map(|value| format!("{text}={value}"))
            .map_err(|_| format!("there is no variable {text} here: write {text}=value")),
    }
}

/// A score in per cent, in thousandths.
pub fn per_cent(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no score: write for example 60 or 62.5, in per cent");
    let score: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&score) { Ok((score * 10.0).round() as u32) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("2G", 2 << 30),
            ("1GiB", 1 << 30),
            ("1.5g", 3 << 29),
            ("64kb", 64 << 10),
            ("7", 7),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1G", "1X", "1e30", "NaN", "inf", "1GG", "many"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, span) in [
            ("90s", Span::seconds(90)),
            ("5m", Span::minutes(5)),
            ("2h", Span::hours(2)),
            ("7d", Span::days(7)),
            ("1h 30m", Span::minutes(90)),
        ] {
            assert_eq!(time(text), Ok(Seconds(span)), "{text}");
        }
        for text in ["", "5", "0s", "-1h", "soon"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_lines_are_counted_or_all() {
        assert_eq!(
            (tail("0"), tail("20"), tail("all")),
            (Ok(Tail(Some(0))), Ok(Tail(Some(20))), Ok(Tail(None)))
        );
        assert!(tail("-1").is_err() && tail("many").is_err());
    }

    #[test]
    fn a_clock_means_the_next_time_that_it_shows_that() {
        let now = jiff::Timestamp::now().as_millisecond();
        let Ok(Moment(Timestamp(at))) = moment("18:30") else { panic!("it is a time") };
        assert!(at > now && at - now <= 25 * 3_600_000);
        assert_eq!(moment("2026-07-31T18:30:00Z"), Ok(Moment(Timestamp(1_785_522_600_000))));
        for text in ["", "25:00", "18", "18:60", "soon"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_are_counted_in_thousandths() {
        assert_eq!((cpus("1"), cpus("0.5"), cpus("2.25")), (Ok(1_000), Ok(500), Ok(2_250)));
        for text in ["0", "-1", "0.0001", "NaN", "all", "2000"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prices_name_their_currency() {
        assert_eq!(price("0.05 EUR").unwrap().micros, 50_000);
        assert_eq!(price("2 credit").unwrap().micros, 2_000_000);
        for text in ["5", "EUR", "0.05", "-1 EUR", "1 €"] {
            assert!(price(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_of_the_guest_is_enough() {
        assert_eq!(port("8080:80"), Ok(Port { local: 8080, guest: 80, protocol: Protocol::Tcp }));
        assert_eq!(port("80"), Ok(Port { local: 0, guest: 80, protocol: Protocol::Tcp }));
        assert_eq!(port("5353:53/udp"), Ok(Port { local: 5353, guest: 53, protocol: Protocol::Udp }));
        assert_eq!(port("80/tcp"), port("80"));
        for text in
            ["", ":", "80:", "x:80", "70000:80", "8080:0", "1:2:3", "80/", "80/sctp", "/udp", "80/udp/udp"]
        {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_policy_names_its_ports() {
        assert_eq!(network("none"), Ok(Network::None));
        let only = Network::Only { destinations: vec!["example.org:443".to_owned()] };
        assert_eq!(network("allow:example.org:443"), Ok(only));
        assert!(network("allow:example.org").is_err() && network("everything").is_err());
    }

    #[test]
    fn a_variable_without_a_value_is_taken_from_here() {
        assert_eq!(variable("A=b=c"), Ok("A=b=c".to_owned()));
        assert_eq!(variable("CARGO_PKG_NAME"), Ok("CARGO_PKG_NAME=sublet-cli".to_owned()));
        assert!(variable("=b").is_err() && variable("SUBLET_NO_SUCH_VARIABLE").is_err());
    }

    #[test]
    fn a_score_is_in_per_cent() {
        assert_eq!((per_cent("60"), per_cent("62.5 %")), (Ok(600), Ok(625)));
        assert!(per_cent("101").is_err() && per_cent("-1").is_err());
    }
}
