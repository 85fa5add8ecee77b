//! `sublet man`: the manual, one page for each command, made of the same words as its help. For packages.

use crate::Done;
use crate::args::Cli;
use crate::desk::Desk;
use crate::fail::Failure;
use clap::{Arg, Args, Command, CommandFactory};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Where to.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder that gets the pages, such as share/man/man1.
    folder: PathBuf,
}

/// Writes them.
pub fn run(desk: &Desk<'_>, args: &ManArgs) -> Done {
    let pages = pages();
    let unwritten = |error| Failure::misused(format!("cannot write to {}: {error}", args.folder.display()));
    fs::create_dir_all(&args.folder).map_err(unwritten)?;
    for (name, page) in &pages {
        fs::write(args.folder.join(format!("{name}.1")), page).map_err(unwritten)?;
    }
    let told = || format!("{} pages in {}", pages.len(), args.folder.display());
    desk.out.either(&json!({ "pages": pages.len() }), told).map(|()| 0)
}

/// Name and text of each page.
fn pages() -> Vec<(String, String)> {
    let mut sublet = Cli::command().term_width(100).disable_help_subcommand(true);
    sublet.build();
    let mut pages = Vec::new();
    collect(&mut sublet, None, &mut pages);
    pages
}

fn collect(command: &mut Command, parent: Option<&str>, pages: &mut Vec<(String, String)>) {
    let name = page_name(command);
    pages.push((name.clone(), page(command, parent)));
    for below in command.get_subcommands_mut().filter(|below| !below.is_hide_set()) {
        collect(below, Some(&name), pages);
    }
}

/// `sublet-offer-set`.
fn page_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

fn page(command: &mut Command, parent: Option<&str>) -> String {
    let name = page_name(command);
    let version = env!("CARGO_PKG_VERSION");
    let usage = command.render_usage().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = format!(".TH {} 1 \"\" \"Sublet {version}\" \"Sublet manual\"\n", name.to_uppercase());
    section(&mut page, "NAME", &format!("{} \\- {}\n", plain(&name), text(about.trim_end_matches('.'))));
    let usage = usage.trim_start_matches("Usage:").trim();
    section(&mut page, "SYNOPSIS", &format!(".nf\n{}\n.fi\n", text(usage)));
    if let Some(long) = command.get_long_about() {
        section(&mut page, "DESCRIPTION", &format!("{}\n", text(&long.to_string())));
    }
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let arguments: String = shown().filter(|arg| arg.is_positional()).map(argument).collect();
    section(&mut page, "ARGUMENTS", &arguments);
    let options: String = shown().filter(|arg| !arg.is_positional()).map(argument).collect();
    section(&mut page, "OPTIONS", &options);
    let commands: String =
        command.get_subcommands().filter(|below| !below.is_hide_set()).map(below).collect();
    section(&mut page, "COMMANDS", &commands);
    if let Some(after) = command.get_after_help() {
        section(&mut page, "NOTES", &format!("{}\n", text(&after.to_string())));
    }
    if let Some(parent) = parent {
        section(&mut page, "SEE ALSO", &format!(".BR {} (1)\n", plain(parent)));
    }
    page
}

fn section(page: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        page.push_str(".SH ");
        page.push_str(title);
        page.push('\n');
        page.push_str(body);
    }
}

fn argument(arg: &Arg) -> String {
    let mut head: Vec<String> = Vec::new();
    head.extend(arg.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
    head.extend(arg.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", plain(long))));
    let mut head = head.join(", ");
    if arg.is_positional() || arg.get_action().takes_values() {
        let names: Vec<String> =
            arg.get_value_names().unwrap_or_default().iter().map(|name| plain(name)).collect();
        let gap = if head.is_empty() { "" } else { " " };
        let _ = write!(head, "{gap}\\fI{}\\fR", names.join(" "));
    }
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut facts = vec![text(&help)];
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        facts.push(text(&format!("Default: {}.", defaults.join(" "))));
    }
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        facts.push(text(&format!("One of: {}.", possible.join(", "))));
    }
    facts.extend(arg.get_env().map(|name| text(&format!("Environment: {}.", name.to_string_lossy()))));
    facts.retain(|fact| !fact.is_empty());
    format!(".TP\n{head}\n{}\n", facts.join("\n"))
}

fn below(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    format!(".TP\n\\fB{}\\fR(1)\n{}\n", plain(&page_name(command)), text(&about))
}

/// Escapes what roff would take for its own, within a line.
fn plain(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The same for whole lines: a dot or an apostrophe at the start would be a request.
fn text(text: &str) -> String {
    let lines = text.trim().lines().map(|line| {
        let line = plain(line.trim());
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> String {
        let found = pages().into_iter().find(|(page, _)| page == name);
        found.unwrap_or_else(|| panic!("no page {name}")).1
    }

    #[test]
    fn each_command_has_its_page() {
        let pages = pages();
        let visible = Cli::command().get_subcommands().filter(|below| !below.is_hide_set()).count();
        let direct = pages.iter().filter(|(name, _)| name.matches('-').count() == 1).count();
        assert_eq!(direct, visible);
        assert!(pages.iter().all(|(name, page)| !name.contains("help") && page.contains(".SH SYNOPSIS\n")));
    }

    #[test]
    fn a_page_holds_what_the_help_holds() {
        let host = of("sublet-host");
        assert!(host.contains("sublet\\-host \\- "), "{host}");
        assert!(host.contains("\\fB\\-\\-dashboard\\fR"), "{host}");
        assert!(host.contains("Environment: SUBLET_DATA."), "{host}");
        assert!(of("sublet").contains("\\fBsublet\\-host\\fR(1)"));
        assert!(of("sublet-completions").contains("\\fISHELL\\fR"));
    }

    #[test]
    fn nothing_reads_as_a_request_of_roff() {
        assert_eq!(text(".TH\n'a\\b"), "\\&.TH\n\\&'a\\eb");
    }
}
