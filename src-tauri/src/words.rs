//! All that this program says itself, outside of the pages: in English and German.

use api::shapes::Money;

/// English, German.
pub type Text = [&'static str; 2];

/// One, and any other number; `{n}` is the number.
pub type Count = [[&'static str; 2]; 2];

pub const PRODUCT: &str = "Sublet";

pub const OFF: Text = ["Not sharing", "Wird nicht geteilt"];
pub const SHARING: Text = ["Sharing, no guest now", "Wird geteilt, gerade kein Gast"];
pub const GUESTS: Count =
    [["1 guest runs here", "{n} guests run here"], ["1 Gast läuft hier", "{n} Gäste laufen hier"]];
pub const STILL: Count = [
    ["1 guest stands still: {why}", "{n} guests stand still: {why}"],
    ["1 Gast steht still: {why}", "{n} Gäste stehen still: {why}"],
];
pub const SLOWED: Count = [
    ["1 guest is slowed down: {why}", "{n} guests are slowed down: {why}"],
    ["1 Gast ist gebremst: {why}", "{n} Gäste sind gebremst: {why}"],
];
pub const NOTHING_NEW: Text = ["Nothing is lent now: {why}", "Gerade wird nichts verliehen: {why}"];
pub const UNTIL: Text = ["{why}, until {time}", "{why}, bis {time}"];
pub const GONE: Text = ["The node does not answer", "Der Knoten antwortet nicht"];
pub const NO_RUNTIME: Text =
    ["Nothing here can run guests: see Share", "Nichts hier kann Gäste ausführen: siehe Teilen"];
pub const WAITING: Count = [
    ["1 guest asks for more time", "{n} guests ask for more time"],
    ["1 Gast bittet um mehr Zeit", "{n} Gäste bitten um mehr Zeit"],
];
pub const EARNED: Text = ["Today: {amount}", "Heute: {amount}"];
pub const EARNED_NOTHING: Text = ["Today: nothing yet", "Heute: noch nichts"];

pub const SHARE: Text = ["Share this computer", "Diesen Computer teilen"];
pub const PAUSE_HOUR: Text = ["Pause for 1 hour", "1 Stunde Pause"];
pub const PAUSE_TOMORROW: Text = ["Pause until tomorrow", "Pause bis morgen"];
pub const GO_ON: Text = ["Go on", "Weitermachen"];
pub const OPEN: Text = ["Open Sublet", "Sublet öffnen"];
pub const AUTOSTART: Text = ["Start when I log in", "Beim Anmelden starten"];
pub const QUIT: Text = ["Quit", "Beenden"];
pub const QUIT_LEAVE: Text = [
    "Quit: guests go on for now, until Sublet is back or their grace is over",
    "Beenden: Gäste laufen vorerst weiter, bis Sublet wieder da oder ihre Frist um ist",
];
pub const QUIT_STOP: Text = ["Stop guests, then quit", "Gäste stoppen, dann beenden"];

pub const NO_TRAY: Text = [
    "This desktop shows no tray icon. Sublet goes on in the background when its window is closed; start Sublet again to see the window. (Under GNOME, the extension AppIndicator brings the icon.)",
    "Diese Arbeitsfläche zeigt kein Symbol im Infobereich. Sublet läuft im Hintergrund weiter, wenn das Fenster zu ist; ein erneuter Start von Sublet zeigt das Fenster. (Unter GNOME bringt die Erweiterung AppIndicator das Symbol.)",
];
pub const NEWS: Text = ["News from Sublet", "Neues von Sublet"];
pub const GUEST_CAME: Count =
    [["A guest has come", "{n} guests have come"], ["Ein Gast ist gekommen", "{n} Gäste sind gekommen"]];
pub const FROM: Text = ["From {who}", "Von {who}"];
pub const NOT_BILLED: Text = ["Nothing is billed meanwhile.", "Solange wird nichts berechnet."];
pub const ENDING: Count = [
    ["A rental is nearly over", "{n} rentals are nearly over"],
    ["Eine Miete ist fast um", "{n} Mieten sind fast um"],
];
pub const ENDS: Text = ["{who}: until {time}", "{who}: bis {time}"];
pub const UNWELL: Count = [
    ["A guest of yours is unhealthy", "{n} guests of yours are unhealthy"],
    ["Ein Gast von dir ist ungesund", "{n} Gäste von dir sind ungesund"],
];
pub const UNWELL_ON: Text = [
    "On {who}. Its page tells what its checks say.",
    "Bei {who}. Was seine Prüfungen sagen, steht auf seiner Seite.",
];
pub const CLAIMED: Text =
    ["{who} says that {amount} was paid", "{who} hat nach eigenen Worten {amount} bezahlt"];
pub const HAS_IT_COME: Text =
    ["Look whether it has come, and say so.", "Sieh nach, ob es da ist, und bestätige es."];
pub const RECEIVED: Text = ["{who} has received {amount}", "{who} hat {amount} erhalten"];
pub const SIGNED: Text = ["Both of you have signed that.", "Das habt ihr beide unterschrieben."];
pub const MISSING: Text = ["{who} has not received {amount}", "{who} hat {amount} nicht erhalten"];
pub const OWED: Text = ["It is owed as before.", "Es ist so offen wie zuvor."];
pub const PAYMENTS: Count = [["1 payment", "{n} payments"], ["1 Zahlung", "{n} Zahlungen"]];
pub const FALLING: Text = ["Your score is about to fall", "Dein Ruf ist in Gefahr"];
pub const FALLS_FOR_HOLDING: Text = [
    "The guest of {who} stands still for you. At {time} its lease ends, and that counts against you.",
    "Der Gast von {who} steht für dich still. Um {time} endet seine Miete, und das zählt gegen dich.",
];
pub const FALLS_FOR_DEBT: Text = [
    "What you owe {who} has reached its limit. At {time} the rental ends, and that counts against you.",
    "Was du {who} schuldest, ist an der Grenze. Um {time} endet die Miete, und das zählt gegen dich.",
];
pub const FALLS_FOR_SILENCE: Text = [
    "{who} misses the signatures of this computer. At {time} the rental ends, and that counts against you.",
    "{who} fehlen die Unterschriften dieses Computers. Um {time} endet die Miete, und das zählt gegen dich.",
];
pub const ALONE: Text = ["Nobody reaches this computer", "Niemand erreicht diesen Computer"];
pub const ALONE_HINT: Text =
    ["No peer has been connected for some minutes.", "Seit einigen Minuten ist keine Gegenstelle verbunden."];
pub const DISK_LOW: Text = ["The disk is nearly full", "Die Platte ist fast voll"];
pub const DISK_LEFT: Text =
    ["{size} are left where Sublet keeps its data.", "{size} sind frei, wo Sublet seine Daten hat."];
pub const UPDATE: Text = ["Sublet {version} can be had", "Sublet {version} ist zu haben"];
pub const UPDATE_HINT: Text =
    ["It waits for you; guests would run on.", "Es wartet auf dich; Gäste liefen weiter."];
pub const NOT_DONE: Text = ["That did not work", "Das ging nicht"];

/// Why the owner comes first: by the code of the kind of reason.
pub const REASONS: [(&str, Text); 11] = [
    ("never", ["lending is off", "Verleihen ist aus"]),
    ("paused", ["paused by you", "von dir pausiert"]),
    ("outside_schedule", ["outside your hours", "außerhalb deiner Zeiten"]),
    ("on_battery", ["on battery", "Akkubetrieb"]),
    ("low_charge", ["battery low", "Akku schwach"]),
    ("hot", ["this computer is hot", "dieser Computer ist heiß"]),
    ("metered", ["traffic is paid for", "Datenverkehr kostet"]),
    ("full_screen", ["a program fills the screen", "ein Programm füllt den Bildschirm"]),
    ("program", ["a program of yours comes first", "ein Programm von dir hat Vorrang"]),
    ("in_use", ["you use this computer", "du benutzt diesen Computer"]),
    ("busy", ["you need the processor", "du brauchst den Prozessor"]),
];

/// What a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    German,
}

impl Language {
    /// By the names that POSIX gives to the variables, the strongest first.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Language {
        let named = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| variable(name).filter(|name| !name.is_empty()));
        match named {
            Some(name) if name.starts_with("de") => Language::German,
            Some(_) | None => Language::English,
        }
    }

    pub fn say(self, text: Text) -> &'static str {
        text[self as usize]
    }

    /// With `{name}` replaced by its value.
    pub fn fill(self, text: Text, facts: &[(&str, &str)]) -> String {
        filled(self.say(text), facts)
    }

    pub fn count(self, texts: Count, n: usize, facts: &[(&str, &str)]) -> String {
        let text = texts[self as usize][usize::from(n != 1)];
        filled(&text.replace("{n}", &n.to_string()), facts)
    }

    /// In GiB, with one place.
    pub fn size(self, bytes: u64) -> String {
        let tenths = (bytes * 10) >> 30;
        let point = if self == Language::German { ',' } else { '.' };
        format!("{}{point}{} GiB", tenths / 10, tenths % 10)
    }

    /// As people of this language write it: two places, and more only where it is less than that.
    pub fn money(self, money: &Money) -> String {
        let micros = money.micros.unsigned_abs();
        let places: u32 = if micros == 0 || micros >= 10_000 { 2 } else { 6 };
        let step = 10u64.pow(6 - places);
        let rounded = (micros + step / 2) / step;
        let one = 10u64.pow(places);
        let sign = if money.micros < 0 { "-" } else { "" };
        let mut fraction = format!("{:0width$}", rounded % one, width = places as usize);
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        let point = if self == Language::German { ',' } else { '.' };
        let currency = money.currency.to_string();
        format!("{sign}{}{point}{fraction} {currency}", rounded / one)
    }
}

/// One pass, so that what a stranger calls himself is never filled in again.
fn filled(text: &str, facts: &[(&str, &str)]) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        done.push_str(before);
        let Some((name, behind)) = after.split_once('}') else { break };
        done.push_str(facts.iter().find(|(fact, _)| *fact == name).map_or("", |(_, value)| value));
        rest = behind;
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_that_of_the_session() {
        let of = |set: &'static [(&str, &str)]| {
            Language::of(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), Language::English);
        assert_eq!(of(&[("LANG", "de_AT.UTF-8")]), Language::German);
        assert_eq!(of(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")]), Language::English);
        assert_eq!(of(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "")]), Language::German);
    }

    #[test]
    fn amounts_are_written_as_people_do() {
        let euros = |micros| Money { micros, currency: "EUR".parse().unwrap(), text: String::new() };
        assert_eq!(Language::English.money(&euros(1_234_560)), "1.23 EUR");
        assert_eq!(Language::German.money(&euros(1_235_000)), "1,24 EUR");
        assert_eq!(Language::English.money(&euros(4_200)), "0.0042 EUR");
        assert_eq!(Language::English.money(&euros(-50_000)), "-0.05 EUR");
        assert_eq!(Language::English.money(&euros(0)), "0.00 EUR");
        assert_eq!(Language::German.size(1_650_000_000), "1,5 GiB");
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(filled("{a} and {b}", &[("a", "{b}"), ("b", "x")]), "{b} and x");
        assert_eq!(Language::German.count(GUESTS, 3, &[]), "3 Gäste laufen hier");
        assert_eq!(Language::English.count(STILL, 1, &[("why", "hot")]), "1 guest stands still: hot");
    }
}
