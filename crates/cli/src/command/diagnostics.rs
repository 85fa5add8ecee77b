//! `sublet diagnostics`: how a node goes, in one file.

use crate::Done;
use crate::desk::Desk;
use clap::Args;
use std::path::PathBuf;

/// Where it goes.
#[derive(Args, Debug)]
pub struct DiagnosticsArgs {
    /// The file; what is there already is replaced [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Asks, and writes it down.
pub async fn run(desk: &Desk<'_>, args: &DiagnosticsArgs) -> Done {
    let told = desk.client.diagnostics().await?;
    let mut text = serde_json::to_vec_pretty(&told).map_err(std::io::Error::from)?;
    text.push(b'\n');
    match &args.output {
        Some(file) => {
            std::fs::write(file, text)?;
            desk.out.note(format!("written to {}: read it before you send it to anybody", file.display()));
        }
        None => desk.out.bytes(&text)?,
    }
    Ok(0)
}
