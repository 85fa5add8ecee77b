//! What people read: tables, fields, bars, short ids.

use api::node::model::{self, resources};
use api::shapes::{Moment, Money, Network, Party, Prices, Resources, Seconds};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Rows below a head. A head that begins with `>` is a column of numbers.
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text. `paint` paints the head.
    pub fn text(&self, paint: impl FnOnce(&str) -> String) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let names: Vec<String> =
            self.head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        let mut lines = vec![paint(&self.line(&names, &widths))];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines.join("\n")
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        let head = self.head.get(column).map_or(0, |name| name.trim_start_matches('>').width());
        cells.max().unwrap_or(0).max(head)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells.iter().zip(widths).zip(&self.head).map(|((cell, width), head)| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            if head.starts_with('>') { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Names and values below each other; those without a value are left out.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<(&str, String)> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = fields.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| {
        let space = " ".repeat(width - name.width());
        // A value of several lines stays in its column.
        format!("{name}{space}  {}", value.replace('\n', &format!("\n{}", " ".repeat(width + 2))))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The first eight digits of an id: enough to tell a few apart, and to name one to a command.
pub fn short(id: &str) -> String {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.chars().take(8).collect()
}

/// What a party calls itself, and the first digits of its device, which cannot be made up.
pub fn party(party: &Party) -> String {
    match &party.name {
        Some(name) => format!("{name} ({})", short(&party.device)),
        None => short(&party.device),
    }
}

/// `12 s`, `2 h 30 min`.
pub fn time(seconds: Seconds) -> String {
    seconds.0.to_string()
}

/// By the clocks of this machine: `18:30`, or with its day when that is another.
pub fn moment(moment: Moment) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(moment.0.0) else { return String::new() };
    let (now, at) = (jiff::Zoned::now(), at.to_zoned(jiff::tz::TimeZone::system()));
    if at.date() == now.date() {
        at.strftime("%H:%M").to_string()
    } else {
        at.strftime("%a %-d %b %H:%M").to_string()
    }
}

/// `1.5 cores, 512 MiB memory, 1.0 GiB disk`.
pub fn amounts(resources: Resources) -> String {
    model::Resources::from(resources).to_string()
}

/// `512 MiB`.
pub fn bytes(count: u64) -> String {
    resources::bytes(count)
}

/// `62.5 %`.
pub fn per_cent(thousandths: u32) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// `a gift`, or the three prices.
pub fn prices(prices: &Prices) -> String {
    let list = |core: &Money, memory: &Money, disk: &Money| {
        format!(
            "{} for a core, {} for a GiB of memory, {} for a GiB of disk, each for an hour",
            core.text, memory.text, disk.text
        )
    };
    match prices {
        Prices::Gift => "a gift".to_owned(),
        Prices::Barter { core, memory_gib, disk_gib } => {
            format!("barter: {}", list(core, memory_gib, disk_gib))
        }
        Prices::Rent { core, memory_gib, disk_gib } => format!("rent: {}", list(core, memory_gib, disk_gib)),
    }
}

/// A network policy, as it is typed.
pub fn network(policy: &Network) -> String {
    match policy {
        Network::None => "none".to_owned(),
        Network::Only { destinations } => format!("allow:{}", destinations.join(",")),
        Network::Internet => "internet".to_owned(),
    }
}

const PARTS: &str = "{msg:<24} [{bar:32}] {percent:>3} %";
const BYTES: &str =
    "{msg:<24} [{bar:32}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// A bar for something whose end is known. It shows on a terminal only.
pub fn bar(total: u64) -> ProgressBar {
    ProgressBar::new(total).with_style(style(PARTS))
}

/// A bar for bytes.
pub fn byte_bar() -> ProgressBar {
    ProgressBar::new(0).with_style(style(BYTES))
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
    // The templates are ours, and a test reads them.
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A sign of life for something whose end is not known. It shows on a terminal only.
pub fn spinner(message: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_straight_whatever_is_in_them() {
        let mut table = Table::new(&["NAME", ">PRICE"]);
        table.row(["猫".to_owned(), "1.00".to_owned()]);
        table.row(["someone".to_owned(), "12.50".to_owned()]);
        assert_eq!(table.text(str::to_owned), "NAME     PRICE\n猫        1.00\nsomeone  12.50");
    }

    #[test]
    fn what_has_no_value_is_no_field() {
        let shown = fields([("a", "1\n2".to_owned()), ("long", String::new()), ("bb", "3".to_owned())]);
        assert_eq!(shown, "a   1\n    2\nbb  3");
    }

    #[test]
    fn the_bars_have_templates_that_can_be_read() {
        for template in [PARTS, BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
