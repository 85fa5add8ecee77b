//! `sublet doctor`: what works on this computer. It needs no node.

use crate::Done;
use crate::desk::Out;
use crate::fail::REFUSED;
use crate::show::Table;
use api::shapes::{Doctor, FindingState};

/// Looks, and says what was found.
pub fn run(out: &Out) -> Done {
    let doctor = api::doctor();
    out.either(&doctor, || story(out, &doctor))?;
    Ok(if doctor.well { 0 } else { REFUSED })
}

fn story(out: &Out, doctor: &Doctor) -> String {
    let mut table = Table::new(&["", "WHAT", "FOUND"]);
    for finding in &doctor.findings {
        let state = match finding.state {
            FindingState::Works => "works",
            FindingState::Limited => "limited",
            FindingState::Missing => "MISSING",
        };
        table.row([state.to_owned(), finding.name.clone(), finding.detail.clone()]);
        if let Some(remedy) = &finding.remedy {
            table.row([String::new(), String::new(), format!("-> {remedy}")]);
        }
    }
    table.text(|head| out.head(head))
}
