//! What the demo found: times, amounts, hashes, and whether each thing held.

use api::shapes::Money;
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// What the demo found.
#[derive(Debug, Default, Serialize)]
pub struct Facts {
    /// Whether all of it held.
    pub ok: bool,
    /// How the two met: `mdns` or `address`.
    pub met_by: String,
    /// Milliseconds that each step took, in the order of the walk.
    #[serde(serialize_with = "as_map")]
    pub times_ms: Vec<(&'static str, u64)>,
    /// The lease's id.
    pub lease: String,
    /// What an hour costs.
    pub hourly: Option<Money>,
    /// What is owed in the end.
    pub amount: Option<Money>,
    /// Seconds that were paid for.
    pub billed_seconds: f64,
    /// Receipts that both have signed.
    pub receipts: u32,
    /// The image's digest.
    pub image: String,
    /// The SHA-256 of the picture, as it came out.
    pub picture_sha256: String,
    /// Its size in bytes.
    pub picture_bytes: usize,
    /// The last hash of the host's record.
    pub host_record: String,
    /// The last hash of the tenant's.
    pub tenant_record: String,
    /// What was compared, and how it came out.
    pub checks: Vec<Check>,
}

/// One thing that was compared.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What should be true.
    pub what: String,
    /// Whether it is.
    pub held: bool,
    /// What was found.
    pub detail: Option<String>,
}

impl Facts {
    /// Notes how long a step took.
    pub fn took(&mut self, step: &'static str, since: Instant) {
        self.times_ms.push((step, since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)));
    }

    /// Notes whether two things are the same.
    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, here: &T, there: &T) {
        let held = here == there;
        let detail = (!held).then(|| format!("{here:?} against {there:?}"));
        self.checks.push(Check { what: what.to_owned(), held, detail });
    }

    /// Notes whether something is true.
    pub fn check(&mut self, what: &str, held: bool, detail: String) {
        self.checks.push(Check { what: what.to_owned(), held, detail: Some(detail) });
    }

    /// All is told: it held when each part did, and there was something to hold.
    pub fn judge(&mut self) {
        self.ok = !self.checks.is_empty() && self.checks.iter().all(|check| check.held);
    }
}

/// What people read at the end.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nOne node against the other:")?;
        for check in &self.checks {
            let detail = check.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            writeln!(f, "  {} {}{detail}", if check.held { "held  " } else { "FAILED" }, check.what)?;
        }
        let times: Vec<String> =
            self.times_ms.iter().map(|(step, ms)| format!("{} {ms} ms", step.replace('_', " "))).collect();
        writeln!(f, "\nTimes: {}.", times.join(", "))?;
        f.write_str(if self.ok { "All of it held." } else { "Not all of it held." })
    }
}

fn as_map<S: serde::Serializer>(times: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(times.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_checked_is_nothing_held() {
        let mut facts = Facts::default();
        facts.judge();
        assert!(!facts.ok);
        facts.same("one is one", &1, &1);
        facts.judge();
        assert!(facts.ok);
        facts.same("one is two", &1, &2);
        facts.judge();
        assert!(!facts.ok);
    }
}
