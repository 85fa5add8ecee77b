//! `sublet verify`: a dispute pack, or this node's own record.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, REFUSED};
use crate::show::{fields, party, time};
use api::pack::{LARGEST, Verdict, check};
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What to check.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// A dispute pack, as `sublet pack` writes it; none: the record of this node.
    file: Option<PathBuf>,
}

/// Checks it.
pub async fn run(desk: &Desk<'_>, args: &VerifyArgs) -> Done {
    let Some(file) = &args.file else {
        let record = desk.client.record().await?;
        return desk
            .out
            .either(&record, || {
                format!("{} records hold together; the last is {}", record.records, record.head)
            })
            .map(|()| 0);
    };
    let verdict = check(&read(file)?)?;
    desk.out.either(&verdict, || story(&verdict))?;
    Ok(if verdict.holds { 0 } else { REFUSED })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unread = |error| Failure::misused(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(unread)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::misused(format!("{} is larger than any dispute pack", path.display())));
    }
    Ok(bytes)
}

fn story(verdict: &Verdict) -> String {
    let facts = &verdict.facts;
    let checks = verdict.checks.iter().map(|check| match &check.wrong {
        None => format!("holds  {}", check.what),
        Some(wrong) => format!("WRONG  {}: {wrong}", check.what),
    });
    let owed = match (&facts.owed, facts.billed) {
        (Some(owed), Some(billed)) => format!(
            "{} for {}, by {} receipts that both have signed",
            owed.text,
            time(billed),
            facts.receipts
        ),
        _ => "nothing that both have signed".to_owned(),
    };
    let facts = fields([
        ("lease", facts.lease.clone()),
        ("host", party(&facts.host)),
        ("tenant", party(&facts.tenant)),
        ("price", format!("{} an hour, for up to {}", facts.hourly.text, time(facts.term))),
        ("owed", owed),
    ]);
    let end = if verdict.holds { "all of it holds together" } else { "not all of it holds" };
    format!("{}\n\n{facts}\n\n{end}", checks.collect::<Vec<_>>().join("\n"))
}
