//! What is news of the node: decided from one look at it and the next, with the time handed in. Pure; `notice` sends it.
//!
//! Each thing that is so has a key of its own: a guest its lease, a payment its id. What is so at a look and was not at the
//! one before is news. A topic is told once, and what comes of it in the next minutes is summed up, so that neither a busy
//! day nor the morning after a sleep fills the screen.

use crate::tray::view::Reason;
use crate::words::{self, Language};
use api::shapes::{
    HealthState, Inventory, Lease, LeaseState, Moment, Money, Notice, Owner, OwnerState, Party, Payment,
    PaymentState, Payments, Side, Status,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// More texts than these at once become one.
const AT_ONCE: usize = 3;

/// More names than these are not listed.
const NAMES: usize = 3;

/// How long before its end a lease that will count against us is told of: time to do something about it.
const FALLS_WITHIN: Duration = Duration::from_secs(15 * 60);

/// How long nobody may be connected before it is news: peers come and go.
const ALONE_FOR: Duration = Duration::from_secs(5 * 60);

/// A disk with less than this, or a twentieth where that is less, is nearly full; with twice as much it is not any more.
const DISK_LOW: u64 = 2 << 30;

/// A text outside of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub title: String,
    pub text: String,
    /// Where in the window more is to be seen.
    pub page: &'static str,
}

/// What one look at the node has seen.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// By a key of each.
    things: BTreeMap<Key, Thing>,
    /// What could not be learnt at this look, and is taken to be as it was.
    unknown: BTreeSet<Notice>,
    peers: usize,
    /// Whether peers matter: something is lent or rented.
    deals: bool,
    /// Free and all, in bytes.
    disk: Option<(u64, u64)>,
}

type Key = (Notice, String);

/// Something that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Guest { who: String },
    Paused { why: Reason, guests: usize },
    Ending { who: String, time: String },
    Unwell { who: String },
    Paid { who: String, amount: Money, stands: Stands },
    Falling { who: String, time: String, reason: String },
    Alone,
    DiskLow { free: u64 },
    Update { version: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Claimed,
    Received,
    Missing,
}

impl Sight {
    /// What a look has seen; of what could not be asked, none. Times are told as `time` has them.
    pub fn of(
        status: &Status,
        owner: &Owner,
        leases: &[Lease],
        payments: Option<&Payments>,
        inventory: Option<&Inventory>,
        time: impl Fn(&Moment) -> String,
    ) -> Sight {
        let mut sight = Sight {
            peers: status.peers,
            deals: status.lends || status.hosting + status.renting > 0,
            disk: inventory.map(|has| (has.disk_free_bytes, has.disk_bytes)),
            ..Sight::default()
        };
        for lease in leases {
            sight.lease(lease, status.now, &time);
        }
        if let Some(reason) = owner.reason.as_ref().filter(|_| owner.held > 0) {
            let still = owner.state == OwnerState::Frozen;
            let why = Reason::of(reason, still, &time);
            let key = format!("{} {still}", reason.kind);
            sight.add(Notice::GuestPaused, key, Thing::Paused { why, guests: owner.held });
        }
        match payments {
            Some(payments) => payments.payments.iter().for_each(|payment| sight.payment(payment)),
            None => drop(sight.unknown.insert(Notice::Paid)),
        }
        sight
    }

    /// A version that can be had; none: none, or that cannot be told now.
    pub fn with_update(mut self, offered: Option<Option<&str>>) -> Sight {
        match offered {
            None => drop(self.unknown.insert(Notice::Update)),
            Some(None) => {}
            Some(Some(version)) => {
                let thing = Thing::Update { version: version.to_owned() };
                self.add(Notice::Update, version.to_owned(), thing);
            }
        }
        self
    }

    fn lease(&mut self, lease: &Lease, now: Moment, time: impl Fn(&Moment) -> String) {
        let who = called(&lease.other);
        let runs = match lease.standing.state {
            LeaseState::Running | LeaseState::Throttled | LeaseState::Frozen => true,
            LeaseState::Agreed
            | LeaseState::Fetching
            | LeaseState::Starting
            | LeaseState::Closing
            | LeaseState::Ended => false,
        };
        if lease.side == Side::Host && runs {
            self.add(Notice::GuestArrived, lease.id.clone(), Thing::Guest { who: who.clone() });
        }
        if let Some(over) = lease.over.filter(|_| lease.side == Side::Tenant && lease.ending) {
            // Made longer, it ends another time.
            let thing = Thing::Ending { who: who.clone(), time: time(&over) };
            self.add(Notice::LeaseEnding, format!("{} {over}", lease.id), thing);
        }
        let unwell = lease.health.as_ref().filter(|health| health.state == HealthState::Unhealthy);
        if let Some(health) = unwell.filter(|_| lease.side == Side::Tenant) {
            // Well in between, it is news again.
            let key = format!("{} {}", lease.id, health.since);
            self.add(Notice::GuestUnwell, key, Thing::Unwell { who: who.clone() });
        }
        let soon = Moment(now.0 + FALLS_WITHIN.into());
        if let Some(blame) = lease.blame.as_ref().filter(|blame| blame.at <= soon) {
            let thing = Thing::Falling { who, time: time(&blame.at), reason: blame.reason.clone() };
            self.add(Notice::ScoreFalling, lease.id.clone(), thing);
        }
    }

    fn payment(&mut self, payment: &Payment) {
        let stands = match (payment.ours, payment.state) {
            (false, PaymentState::Open) => Stands::Claimed,
            (true, PaymentState::Received) => Stands::Received,
            (true, PaymentState::Missing) => Stands::Missing,
            // What we have done ourselves is no news.
            (true, PaymentState::Open) | (false, PaymentState::Received | PaymentState::Missing) => return,
        };
        let who = payment.name.clone().unwrap_or_else(|| short(&payment.person));
        let thing = Thing::Paid { who, amount: payment.amount.clone(), stands };
        self.add(Notice::Paid, format!("{} {stands:?}", payment.id), thing);
    }

    fn add(&mut self, topic: Notice, key: String, thing: Thing) {
        self.things.insert((topic, key), thing);
    }
}

/// What a party is called.
fn called(party: &Party) -> String {
    party.name.clone().unwrap_or_else(|| short(&party.person))
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Remembers what was seen and told.
#[derive(Default)]
pub struct News {
    /// What was so at the last look; none before the first.
    before: Option<BTreeMap<Key, Thing>>,
    /// What is news, and not told yet.
    waiting: BTreeMap<Key, Thing>,
    told: BTreeMap<Notice, Instant>,
    /// Whether a peer was ever connected: who has met nobody yet misses nobody.
    has_met: bool,
    alone_since: Option<Instant>,
}

impl News {
    /// What is to be told after this look.
    pub fn look(
        &mut self,
        now: Instant,
        sight: Sight,
        silent: &BTreeSet<Notice>,
        language: Language,
    ) -> Vec<Telling> {
        let things = self.seen(now, sight);
        let is_new = |key: &Key| match &self.before {
            Some(before) => !before.contains_key(key),
            None => is_told_at_first(key.0),
        };
        let new = things.iter().filter(|(key, _)| is_new(key));
        self.waiting.extend(new.map(|(key, thing)| (key.clone(), thing.clone())));
        // A guest that has gone again has come all the same; a reason that has passed needs nobody.
        self.waiting
            .retain(|key, _| !silent.contains(&key.0) && (has_happened(key.0) || things.contains_key(key)));
        self.before = Some(things);
        summed_up(self.due(now, language), language)
    }

    /// All that is so, with what a single look cannot tell.
    fn seen(&mut self, now: Instant, sight: Sight) -> BTreeMap<Key, Thing> {
        let was = |topic| {
            let before = self.before.iter().flatten().filter(move |((of, _), _)| *of == topic);
            before.map(|(key, thing)| (key.clone(), thing.clone()))
        };
        let mut things = sight.things;
        things.extend(sight.unknown.iter().flat_map(|topic| was(*topic)));
        match sight.disk {
            None => things.extend(was(Notice::DiskLow)),
            Some((free, all)) => {
                let low = DISK_LOW.min(all / 20);
                let bound = if was(Notice::DiskLow).next().is_some() { 2 * low } else { low };
                if free < bound {
                    things.insert((Notice::DiskLow, String::new()), Thing::DiskLow { free });
                }
            }
        }
        self.has_met |= sight.peers > 0;
        if sight.peers > 0 || !sight.deals || !self.has_met {
            self.alone_since = None;
        } else if now.duration_since(*self.alone_since.get_or_insert(now)) >= ALONE_FOR {
            things.insert((Notice::Unreachable, String::new()), Thing::Alone);
        }
        things
    }

    fn due(&mut self, now: Instant, language: Language) -> Vec<Telling> {
        let told = &self.told;
        let is_due = |topic: Notice| {
            told.get(&topic).is_none_or(|told| now.duration_since(*told) >= silence_after(topic))
        };
        let due: Vec<(Key, Thing)> = self.waiting.extract_if(.., |key, _| is_due(key.0)).collect();
        let mut topics: BTreeMap<Notice, Vec<Thing>> = BTreeMap::new();
        for ((topic, _), thing) in due {
            topics.entry(topic).or_default().push(thing);
        }
        self.told.extend(topics.keys().map(|topic| (*topic, now)));
        topics.into_values().filter_map(|things| telling(&things, language)).collect()
    }
}

/// Whether it matters to who has just begun to look: it can still be helped, and nobody has told of it.
fn is_told_at_first(topic: Notice) -> bool {
    match topic {
        Notice::LeaseEnding
        | Notice::GuestUnwell
        | Notice::ScoreFalling
        | Notice::Unreachable
        | Notice::DiskLow
        | Notice::Update => true,
        Notice::GuestArrived | Notice::GuestPaused | Notice::Paid => false,
    }
}

/// Whether it stays news when it is no longer so.
fn has_happened(topic: Notice) -> bool {
    match topic {
        Notice::GuestArrived | Notice::Paid => true,
        Notice::GuestPaused
        | Notice::LeaseEnding
        | Notice::GuestUnwell
        | Notice::ScoreFalling
        | Notice::Unreachable
        | Notice::DiskLow
        | Notice::Update => false,
    }
}

/// How long a topic that was told is not told again.
fn silence_after(topic: Notice) -> Duration {
    Duration::from_secs(match topic {
        Notice::GuestArrived | Notice::LeaseEnding | Notice::Paid | Notice::ScoreFalling => 60,
        // They come and go: with the owner's hands, the charger, a guest that is begun again.
        Notice::GuestPaused
        | Notice::GuestUnwell
        | Notice::Unreachable
        | Notice::DiskLow
        | Notice::Update => 10 * 60,
    })
}

fn summed_up(tellings: Vec<Telling>, language: Language) -> Vec<Telling> {
    if tellings.len() <= AT_ONCE {
        return tellings;
    }
    let titles: Vec<String> = tellings.into_iter().map(|telling| telling.title).collect();
    vec![Telling { title: language.say(words::NEWS).to_owned(), text: titles.join("\n"), page: "overview" }]
}

/// The text for things of one topic.
fn telling(things: &[Thing], language: Language) -> Option<Telling> {
    let say = |text| language.say(text).to_owned();
    let (title, text, page) = match (things.first()?, things.len()) {
        (Thing::Guest { .. }, n) => {
            let from = language.fill(words::FROM, &[("who", &names(things))]);
            (language.count(words::GUEST_CAME, n, &[]), from, "overview")
        }
        (Thing::Paused { .. }, n) => {
            // One reason takes over from another: the last holds.
            let Thing::Paused { why, guests } = &things[n - 1] else { return None };
            (why.line(*guests, language), say(words::NOT_BILLED), "overview")
        }
        (Thing::Ending { who, time }, 1) => {
            let ends = language.fill(words::ENDS, &[("who", who), ("time", time)]);
            (language.count(words::ENDING, 1, &[]), ends, "rentals")
        }
        (Thing::Ending { .. }, n) => (language.count(words::ENDING, n, &[]), names(things), "rentals"),
        (Thing::Unwell { .. }, n) => {
            let on = language.fill(words::UNWELL_ON, &[("who", &names(things))]);
            (language.count(words::UNWELL, n, &[]), on, "rentals")
        }
        (Thing::Paid { who, amount, stands }, 1) => {
            let (title, text) = match stands {
                Stands::Claimed => (words::CLAIMED, words::HAS_IT_COME),
                Stands::Received => (words::RECEIVED, words::SIGNED),
                Stands::Missing => (words::MISSING, words::OWED),
            };
            let title = language.fill(title, &[("who", who), ("amount", &language.money(amount))]);
            (title, say(text), "earnings")
        }
        (Thing::Paid { .. }, n) => (language.count(words::PAYMENTS, n, &[]), names(things), "earnings"),
        (Thing::Falling { who, time, reason }, _) => {
            let (text, page) = match reason.as_str() {
                "owner_stopped" => (words::FALLS_FOR_HOLDING, "overview"),
                "credit_used_up" => (words::FALLS_FOR_DEBT, "earnings"),
                _ => (words::FALLS_FOR_SILENCE, "rentals"),
            };
            (say(words::FALLING), language.fill(text, &[("who", who), ("time", time)]), page)
        }
        (Thing::Alone, _) => (say(words::ALONE), say(words::ALONE_HINT), "settings"),
        (Thing::DiskLow { free }, _) => {
            let left = language.fill(words::DISK_LEFT, &[("size", &language.size(*free))]);
            (say(words::DISK_LOW), left, "settings")
        }
        (Thing::Update { version }, _) => {
            (language.fill(words::UPDATE, &[("version", version)]), say(words::UPDATE_HINT), "settings")
        }
    };
    Some(Telling { title, text, page })
}

/// Whose they are: some of them, each once.
fn names(things: &[Thing]) -> String {
    let who = things.iter().filter_map(|thing| match thing {
        Thing::Guest { who }
        | Thing::Ending { who, .. }
        | Thing::Unwell { who }
        | Thing::Paid { who, .. }
        | Thing::Falling { who, .. } => Some(who.as_str()),
        Thing::Paused { .. } | Thing::Alone | Thing::DiskLow { .. } | Thing::Update { .. } => None,
    });
    let names: BTreeSet<&str> = who.collect();
    let some: Vec<&str> = names.iter().copied().take(NAMES).collect();
    let more = if names.len() > NAMES { ", .." } else { "" };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Looks at a node with English eyes, minute after minute.
    struct Looks {
        news: News,
        now: Instant,
        silent: BTreeSet<Notice>,
    }

    impl Looks {
        /// One look is past, at which there was nothing.
        fn begun() -> Looks {
            let mut looks = Looks { news: News::default(), now: Instant::now(), silent: BTreeSet::new() };
            assert_eq!(looks.at(&met()), []);
            looks
        }

        fn at(&mut self, sight: &Sight) -> Vec<Telling> {
            self.news.look(self.now, sight.clone(), &self.silent, Language::English)
        }

        fn after(&mut self, past: Duration, sight: &Sight) -> Vec<Telling> {
            self.now += past;
            self.at(sight)
        }
    }

    fn met() -> Sight {
        Sight { peers: 1, deals: true, disk: Some((90 << 30, 100 << 30)), ..Sight::default() }
    }

    fn guests(leases: &[&str]) -> Sight {
        let mut sight = met();
        for lease in leases {
            sight.add(Notice::GuestArrived, (*lease).to_owned(), Thing::Guest { who: format!("<{lease}>") });
        }
        sight
    }

    fn paused(kind: &str) -> Sight {
        let why = Reason { kind: kind.to_owned(), sentence: "x".to_owned(), until: None, still: true };
        let mut sight = met();
        sight.add(Notice::GuestPaused, kind.to_owned(), Thing::Paused { why, guests: 2 });
        sight
    }

    fn paid(n: usize) -> Sight {
        let euros = Money { micros: 3_000_000, currency: "EUR".parse().unwrap(), text: String::new() };
        let mut sight = met();
        for n in 0..n {
            let thing = Thing::Paid { who: "Ann".to_owned(), amount: euros.clone(), stands: Stands::Claimed };
            sight.add(Notice::Paid, n.to_string(), thing);
        }
        sight
    }

    fn disk(free: u64) -> Sight {
        Sight { disk: Some((free, 100 << 30)), ..met() }
    }

    fn titles(tellings: &[Telling]) -> Vec<&str> {
        tellings.iter().map(|telling| telling.title.as_str()).collect()
    }

    #[test]
    fn a_guest_is_told_of_once() {
        let mut looks = Looks::begun();
        let told = looks.at(&guests(&["ann"]));
        assert_eq!(
            told,
            [Telling { title: "A guest has come".into(), text: "From <ann>".into(), page: "overview" }]
        );
        assert_eq!(looks.after(MINUTE, &guests(&["ann"])), []);
        assert_eq!(looks.after(MINUTE, &met()), [], "that one has gone is no news");
    }

    #[test]
    fn a_busy_minute_is_summed_up() {
        let mut looks = Looks::begun();
        assert_eq!(looks.at(&guests(&["a"])).len(), 1);
        assert_eq!(looks.after(MINUTE / 3, &guests(&["a", "b"])), []);
        // It has gone before anybody was told.
        assert_eq!(looks.after(MINUTE / 3, &guests(&["c", "d", "e"])), []);
        let told = looks.after(MINUTE / 3, &guests(&["c", "d", "e"]));
        assert_eq!(titles(&told), ["4 guests have come"]);
        assert_eq!(told[0].text, "From <b>, <c>, <d>, ..");
    }

    #[test]
    fn what_was_so_before_anybody_looked_is_no_news_but_what_can_still_be_helped_is() {
        let mut sight = guests(&["a", "b"]);
        sight.things.extend(paid(1).things);
        sight.things.extend(paused("on_battery").things);
        sight.disk = Some((1 << 30, 100 << 30));
        let mut looks = Looks { news: News::default(), now: Instant::now(), silent: BTreeSet::new() };
        assert_eq!(titles(&looks.at(&sight)), ["The disk is nearly full"]);
    }

    #[test]
    fn much_at_once_is_one_text() {
        let mut looks = Looks::begun();
        let mut sight = guests(&["a", "b"]);
        sight.things.extend(paid(2).things);
        sight.things.extend(paused("on_battery").things);
        sight.disk = Some((1 << 30, 100 << 30));
        let told = looks.at(&sight);
        assert_eq!(titles(&told), ["News from Sublet"]);
        let all = "2 guests have come\n2 guests stand still: on battery\n2 payments\nThe disk is nearly full";
        assert_eq!(told[0].text, all);
    }

    #[test]
    fn nothing_is_told_of_which_there_shall_be_silence_nor_later() {
        let mut looks = Looks::begun();
        looks.silent = [Notice::GuestArrived].into();
        assert_eq!(looks.at(&guests(&["a"])), []);
        looks.silent.clear();
        assert_eq!(looks.after(MINUTE, &guests(&["a"])), [], "it was not to be told when it came");
        assert_eq!(looks.after(MINUTE, &guests(&["a", "b"])).len(), 1);
        // What waits is not told either once there shall be silence.
        assert_eq!(looks.at(&guests(&["a", "b", "c"])), []);
        looks.silent = [Notice::GuestArrived].into();
        assert_eq!(looks.after(MINUTE, &guests(&["a", "b", "c"])), []);
    }

    #[test]
    fn reasons_that_come_and_go_are_told_seldom_and_only_while_they_hold() {
        let mut looks = Looks::begun();
        assert_eq!(titles(&looks.at(&paused("in_use"))), ["2 guests stand still: you use this computer"]);
        assert_eq!(looks.after(MINUTE, &met()), []);
        assert_eq!(looks.after(MINUTE, &paused("in_use")), []);
        assert_eq!(looks.after(9 * MINUTE, &met()), [], "it has passed");
        assert_eq!(looks.after(MINUTE, &paused("in_use")).len(), 1);
    }

    #[test]
    fn what_could_not_be_asked_is_neither_gone_nor_new() {
        let mut looks = Looks::begun();
        assert_eq!(looks.at(&paid(1)).len(), 1);
        let unknown = Sight { unknown: [Notice::Paid].into(), disk: None, ..met() };
        assert_eq!(looks.after(MINUTE, &unknown), []);
        assert_eq!(looks.after(MINUTE, &paid(1)), []);
        assert_eq!(titles(&looks.after(MINUTE, &paid(2))), ["Ann says that 3.00 EUR was paid"]);
    }

    #[test]
    fn a_disk_on_the_edge_is_told_of_once() {
        let mut looks = Looks::begun();
        let told = looks.at(&disk((3 << 30) / 2));
        assert_eq!(told[0].text, "1.5 GiB are left where Sublet keeps its data.");
        for free in [5 << 29, 3 << 30, 1 << 30] {
            assert_eq!(looks.after(MINUTE, &disk(free)), [], "{free}");
        }
        assert_eq!(looks.after(MINUTE, &disk(5 << 30)), []);
        assert_eq!(looks.after(10 * MINUTE, &disk(1 << 30)).len(), 1);
        // A small disk is not full because it is small.
        let mut looks = Looks::begun();
        assert_eq!(looks.at(&Sight { disk: Some((1 << 30, 4 << 30)), ..met() }), []);
    }

    #[test]
    fn who_has_met_somebody_is_told_when_nobody_has_been_there_for_long() {
        let alone = Sight { peers: 0, ..met() };
        let mut looks = Looks::begun();
        assert_eq!(looks.at(&alone), []);
        assert_eq!(looks.after(4 * MINUTE, &alone), []);
        assert_eq!(looks.after(MINUTE / 2, &met()), [], "one came back");
        assert_eq!(looks.after(MINUTE, &alone), []);
        assert_eq!(titles(&looks.after(5 * MINUTE, &alone)), ["Nobody reaches this computer"]);
        assert_eq!(looks.after(MINUTE, &alone), []);
        // Who deals with nobody misses nobody, nor who has never met anybody.
        for sight in [Sight { deals: false, ..alone.clone() }, alone] {
            let mut looks = Looks { news: News::default(), now: Instant::now(), silent: BTreeSet::new() };
            assert_eq!(looks.at(&sight), []);
            assert_eq!(looks.after(6 * MINUTE, &sight), []);
        }
    }

    #[test]
    fn a_version_is_told_of_once_and_again_when_there_is_a_newer_one() {
        let known = |version: &'static str| met().with_update(Some(Some(version)));
        let mut looks = Looks { news: News::default(), now: Instant::now(), silent: BTreeSet::new() };
        assert_eq!(titles(&looks.at(&known("1.2.0"))), ["Sublet 1.2.0 can be had"]);
        assert_eq!(looks.after(10 * MINUTE, &met().with_update(None)), [], "it was not asked");
        assert_eq!(looks.after(10 * MINUTE, &known("1.2.0")), []);
        assert_eq!(titles(&looks.after(10 * MINUTE, &known("1.3.0"))), ["Sublet 1.3.0 can be had"]);
        assert_eq!(looks.after(10 * MINUTE, &met().with_update(Some(None))), []);
    }

    #[test]
    fn each_end_of_a_rental_is_told_of() {
        let ending = |time: &str| {
            let mut sight = met();
            let thing = Thing::Ending { who: "Bo".to_owned(), time: time.to_owned() };
            sight.add(Notice::LeaseEnding, time.to_owned(), thing);
            sight
        };
        let mut looks = Looks::begun();
        assert_eq!(looks.at(&ending("15:20"))[0].text, "Bo: until 15:20");
        assert_eq!(looks.after(MINUTE, &ending("15:20")), []);
        assert_eq!(looks.after(MINUTE, &ending("16:20"))[0].text, "Bo: until 16:20");
    }

    #[test]
    fn a_guest_that_is_not_well_is_told_of_each_time_and_not_too_often() {
        let unwell = |since: &str| {
            let mut sight = met();
            sight.add(Notice::GuestUnwell, since.to_owned(), Thing::Unwell { who: "Bo".to_owned() });
            sight
        };
        let mut looks = Looks::begun();
        let told = looks.at(&unwell("15:20"));
        assert_eq!(titles(&told), ["A guest of yours is unhealthy"]);
        assert!(told[0].text.starts_with("On Bo") && told[0].page == "rentals");
        assert_eq!(looks.after(MINUTE, &met()), []);
        assert_eq!(looks.after(MINUTE, &unwell("15:22")), [], "it comes and goes");
        assert_eq!(looks.after(10 * MINUTE, &unwell("15:22")).len(), 1);
    }

    #[test]
    fn why_a_score_falls_is_said_in_the_words_of_the_reader() {
        let falling = |reason: &str| {
            let (who, time) = ("Bo".to_owned(), "15:20".to_owned());
            telling(&[Thing::Falling { who, time, reason: reason.to_owned() }], Language::German).unwrap()
        };
        assert!(falling("owner_stopped").text.starts_with("Der Gast von Bo steht für dich still. Um 15:20"));
        assert_eq!(falling("owner_stopped").page, "overview");
        assert!(falling("credit_used_up").text.contains("schuldest"));
        assert!(falling("unsigned").text.contains("Unterschriften"));
    }
}
