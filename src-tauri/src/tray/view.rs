//! What the tray shows, made of what is known. Pure: who paints it is beside.

use crate::words::{self, Language, PRODUCT};
use api::shapes::{Moment, Money, Reason as Told};

/// What is known of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether it is lent.
    pub lends: bool,
    /// Whether something here can run guests.
    pub can_lend: bool,
    /// Whether the node is this program's own, and stops with it.
    pub own: bool,
    /// Guests of others here that have not ended.
    pub guests: usize,
    /// Wishes for more time that wait for the owner.
    pub waiting: usize,
    /// Why the owner comes first.
    pub reason: Option<Reason>,
    /// Whether the owner has paused by hand.
    pub paused: bool,
    /// What was earned today, by currency.
    pub earned: Vec<Money>,
}

/// Why guests make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub kind: String,
    /// In English words, for a kind that is not known here.
    pub sentence: String,
    /// Until when, by the clocks of this place.
    pub until: Option<String>,
    /// Whether guests stand still, rather than run slower.
    pub still: bool,
}

impl Reason {
    /// As the node says it; times are told as `time` has them.
    pub fn of(reason: &Told, still: bool, time: impl Fn(&Moment) -> String) -> Reason {
        Reason {
            kind: reason.kind.clone(),
            sentence: reason.sentence.clone(),
            until: reason.until.as_ref().map(time),
            still,
        }
    }

    /// What it means for so many guests.
    pub fn line(&self, guests: usize, language: Language) -> String {
        let why = self.why(language);
        let told = [("why", why.as_str())];
        match (guests, self.still) {
            (0, _) => language.fill(words::NOTHING_NEW, &told),
            (guests, true) => language.count(words::STILL, guests, &told),
            (guests, false) => language.count(words::SLOWED, guests, &told),
        }
    }

    fn why(&self, language: Language) -> String {
        let known = words::REASONS.iter().find(|(kind, _)| *kind == self.kind);
        let why = known.map_or(self.sentence.as_str(), |(_, text)| language.say(*text));
        match &self.until {
            Some(time) => language.fill(words::UNTIL, &[("why", why), ("time", time)]),
            None => why.to_owned(),
        }
    }
}

/// Which picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    Off,
    Sharing,
    Guests,
    Paused,
    Attention,
}

/// A line of the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Only read.
    Line(String),
    Separator,
    Item(Choice, String),
    Check(Choice, String, bool),
    Menu(String, Vec<Entry>),
}

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Share,
    Unshare,
    PauseHour,
    PauseTomorrow,
    GoOn,
    Open,
    Autostart,
    Quit,
    StopAndQuit,
}

impl Choice {
    const ALL: [Choice; 9] = [
        Choice::Share,
        Choice::Unshare,
        Choice::PauseHour,
        Choice::PauseTomorrow,
        Choice::GoOn,
        Choice::Open,
        Choice::Autostart,
        Choice::Quit,
        Choice::StopAndQuit,
    ];

    /// Its name in the menu's events.
    pub fn id(self) -> String {
        format!("{self:?}")
    }

    pub fn named(id: &str) -> Option<Choice> {
        Choice::ALL.into_iter().find(|choice| choice.id() == id)
    }
}

/// What the tray shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub icon: Icon,
    pub tooltip: String,
    pub menu: Vec<Entry>,
}

/// How the tray looks; without facts, the node does not answer.
pub fn view(facts: Option<&Facts>, autostart: bool, language: Language) -> View {
    let (icon, state) = state(facts, language);
    let mut menu = vec![Entry::Line(state.clone())];
    if let Some(facts) = facts {
        menu.push(Entry::Line(earned(&facts.earned, language)));
        menu.push(Entry::Separator);
        let choice = if facts.lends { Choice::Unshare } else { Choice::Share };
        menu.push(Entry::Check(choice, language.say(words::SHARE).to_owned(), facts.lends));
        let item = |choice, text| Entry::Item(choice, language.say(text).to_owned());
        if facts.paused {
            menu.push(item(Choice::GoOn, words::GO_ON));
        } else if facts.lends || facts.guests > 0 {
            menu.push(item(Choice::PauseHour, words::PAUSE_HOUR));
            menu.push(item(Choice::PauseTomorrow, words::PAUSE_TOMORROW));
        }
    }
    menu.push(Entry::Separator);
    menu.push(Entry::Item(Choice::Open, language.say(words::OPEN).to_owned()));
    menu.push(Entry::Check(Choice::Autostart, language.say(words::AUTOSTART).to_owned(), autostart));
    menu.push(Entry::Separator);
    menu.push(quit(facts, language));
    View { icon, tooltip: format!("{PRODUCT}: {state}"), menu }
}

fn state(facts: Option<&Facts>, language: Language) -> (Icon, String) {
    let Some(facts) = facts else { return (Icon::Attention, language.say(words::GONE).to_owned()) };
    if facts.waiting > 0 {
        return (Icon::Attention, language.count(words::WAITING, facts.waiting, &[]));
    }
    if facts.lends && !facts.can_lend {
        return (Icon::Attention, language.say(words::NO_RUNTIME).to_owned());
    }
    if !facts.lends && facts.guests == 0 {
        return (Icon::Off, language.say(words::OFF).to_owned());
    }
    if let Some(reason) = &facts.reason {
        return (Icon::Paused, reason.line(facts.guests, language));
    }
    match facts.guests {
        0 => (Icon::Sharing, language.say(words::SHARING).to_owned()),
        guests => (Icon::Guests, language.count(words::GUESTS, guests, &[])),
    }
}

fn earned(earned: &[Money], language: Language) -> String {
    let amounts: Vec<String> =
        earned.iter().filter(|money| money.micros != 0).map(|money| language.money(money)).collect();
    match amounts.as_slice() {
        [] => language.say(words::EARNED_NOTHING).to_owned(),
        amounts => language.fill(words::EARNED, &[("amount", &amounts.join(" + "))]),
    }
}

/// Asks first where guests run by this program's own node: the question is a menu of its own, for want of a window.
fn quit(facts: Option<&Facts>, language: Language) -> Entry {
    let text = language.say(words::QUIT).to_owned();
    match facts.filter(|facts| facts.own && facts.guests > 0) {
        None => Entry::Item(Choice::Quit, text),
        Some(facts) => Entry::Menu(
            format!("{text} .."),
            vec![
                Entry::Line(language.count(words::GUESTS, facts.guests, &[])),
                Entry::Item(Choice::Quit, language.say(words::QUIT_LEAVE).to_owned()),
                Entry::Item(Choice::StopAndQuit, language.say(words::QUIT_STOP).to_owned()),
            ],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent() -> Facts {
        Facts { lends: true, can_lend: true, own: true, ..Facts::default() }
    }

    fn shown(facts: &Facts) -> View {
        view(Some(facts), false, Language::English)
    }

    fn on_battery() -> Option<Reason> {
        let (kind, sentence) = ("on_battery".to_owned(), "the machine runs from its battery".to_owned());
        Some(Reason { kind, sentence, until: None, still: true })
    }

    fn choices(menu: &[Entry]) -> Vec<Choice> {
        let of = |entry: &Entry| match entry {
            Entry::Item(choice, _) | Entry::Check(choice, _, _) => vec![*choice],
            Entry::Menu(_, entries) => choices(entries),
            Entry::Line(_) | Entry::Separator => Vec::new(),
        };
        menu.iter().flat_map(of).collect()
    }

    #[test]
    fn each_state_has_its_picture() {
        assert_eq!(shown(&Facts::default()).icon, Icon::Off);
        assert_eq!(shown(&lent()).icon, Icon::Sharing);
        assert_eq!(shown(&Facts { guests: 2, ..lent() }).icon, Icon::Guests);
        assert_eq!(shown(&Facts { guests: 2, reason: on_battery(), ..lent() }).icon, Icon::Paused);
        assert_eq!(shown(&Facts { guests: 2, waiting: 1, ..lent() }).icon, Icon::Attention);
        assert_eq!(shown(&Facts { can_lend: false, ..lent() }).icon, Icon::Attention);
        assert_eq!(view(None, false, Language::English).icon, Icon::Attention);
        // Guests of a machine that is not lent any more run on by their own terms.
        assert_eq!(shown(&Facts { lends: false, guests: 1, ..lent() }).icon, Icon::Guests);
        // Where nothing is lent, nothing waits for a battery.
        assert_eq!(shown(&Facts { lends: false, reason: on_battery(), ..lent() }).icon, Icon::Off);
    }

    #[test]
    fn the_reason_stands_in_the_tooltip_and_in_the_first_line() {
        let view = shown(&Facts { guests: 1, reason: on_battery(), ..lent() });
        assert_eq!(view.tooltip, "Sublet: 1 guest stands still: on battery");
        assert_eq!(view.menu[0], Entry::Line("1 guest stands still: on battery".to_owned()));
        let until = on_battery().map(|reason| Reason {
            kind: "paused".to_owned(),
            until: Some("15:20".to_owned()),
            still: false,
            ..reason
        });
        let german = super::view(Some(&Facts { reason: until, ..lent() }), false, Language::German);
        assert_eq!(german.tooltip, "Sublet: Gerade wird nichts verliehen: von dir pausiert, bis 15:20");
        let strange = on_battery().map(|reason| Reason { kind: "moonlight".to_owned(), ..reason });
        assert!(shown(&Facts { reason: strange, ..lent() }).tooltip.contains("runs from its battery"));
    }

    #[test]
    fn only_what_can_be_done_is_offered() {
        use Choice::{Autostart, GoOn, Open, PauseHour, PauseTomorrow, Quit, Share, StopAndQuit, Unshare};
        assert_eq!(choices(&shown(&Facts::default()).menu), [Share, Open, Autostart, Quit]);
        assert_eq!(choices(&shown(&lent()).menu), [Unshare, PauseHour, PauseTomorrow, Open, Autostart, Quit]);
        assert_eq!(
            choices(&shown(&Facts { paused: true, ..lent() }).menu),
            [Unshare, GoOn, Open, Autostart, Quit]
        );
        assert_eq!(choices(&view(None, true, Language::English).menu), [Open, Autostart, Quit]);
        let asked = shown(&Facts { guests: 2, ..lent() });
        assert!(choices(&asked.menu).ends_with(&[Quit, StopAndQuit]), "quitting asks first");
        // Guests of a node that is somebody else's are not touched by our end.
        let attached = shown(&Facts { guests: 2, own: false, ..lent() });
        assert_eq!(choices(&attached.menu).last(), Some(&Quit));
        assert!(!choices(&attached.menu).contains(&StopAndQuit));
    }

    #[test]
    fn what_was_earned_is_told_by_currency() {
        let money = |micros, currency: &str| Money {
            micros,
            currency: currency.parse().unwrap(),
            text: String::new(),
        };
        let line = |earned: Vec<Money>| {
            let view = shown(&Facts { earned, ..lent() });
            let Entry::Line(line) = &view.menu[1] else { panic!("{view:?}") };
            line.clone()
        };
        assert_eq!(line(vec![]), "Today: nothing yet");
        assert_eq!(line(vec![money(420_000, "EUR"), money(2_000_000, "USD")]), "Today: 0.42 EUR + 2.00 USD");
    }

    #[test]
    fn a_choice_is_found_by_its_name() {
        for choice in Choice::ALL {
            assert_eq!(Choice::named(&choice.id()), Some(choice));
        }
        assert_eq!(Choice::named("nothing"), None);
    }
}
