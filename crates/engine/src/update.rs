//! Whether this node takes a new version of the program now.
//!
//! Releases go out in stages: each node stands at a place of its own in the order of a version
//! ([`Release::place`]), and its turn comes when the release's cursor has passed that place. No server says whose turn it
//! is, nothing is reported anywhere, and the answer is the same whether the node runs or not.
//!
//! ```text
//!   signed by a key of ours? newer? for us?  -> no: nothing
//!   our turn, by the cursor?                 -> no: wait
//!   does the owner want to be asked?         -> yes: offer
//!   is it here?                              -> no: fetch
//!   does anything go on that a restart cuts? -> yes: wait
//!                                               install
//! ```
//!
//! Guests run on through a restart: their supervisors outlive the node, and the next node adopts them. What a restart
//! does cut is an image on its way, a guest between starting and running, one between stopping and stopped, and a tick
//! that waits for its signature; these pass within minutes, and are waited for.

use model::document::{Channel, Package, PackageKind, Release, Version};
use model::{DeviceId, Phase, Signed, Timestamp};

/// The keys whose word on releases counts, in hexadecimal with commas between: given when the program is built, as
/// `SUBLET_RELEASE_KEYS`. None, as usual: updates are off.
pub const KEYS: &str = match option_env!("SUBLET_RELEASE_KEYS") {
    Some(keys) => keys,
    None => "",
};

/// A release whose signer is one that counts.
#[derive(Clone, Debug)]
pub struct Trusted(Signed<Release>);

/// Why a release does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// No key was given when this program was built.
    #[error("updates are off: this program was built without a key to check releases by")]
    Off,
    /// Anybody can sign a release.
    #[error("the release is signed by {found}, which is not a key that this program takes releases from")]
    Signer {
        /// Who signed it.
        found: DeviceId,
    },
}

impl Trusted {
    /// The only way to one.
    ///
    /// # Errors
    /// When the signer is not among the keys.
    pub fn of(release: Signed<Release>, keys: &[DeviceId]) -> Result<Trusted, Untrusted> {
        if keys.is_empty() {
            return Err(Untrusted::Off);
        }
        match keys.contains(&release.signer()) {
            true => Ok(Trusted(release)),
            false => Err(Untrusted::Signer { found: release.signer() }),
        }
    }

    /// The one of two that counts: of one version the later statement, so that a rollout that was stopped is not
    /// started again by showing what was said before.
    #[must_use]
    pub fn or_later(self, other: Trusted) -> Trusted {
        let later = (other.0.version, other.0.issued) > (self.0.version, self.0.issued);
        if later { other } else { self }
    }

    /// What was signed.
    pub fn release(&self) -> &Signed<Release> {
        &self.0
    }
}

/// What the owner has said of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// None.
    Never,
    /// Each is offered, and nothing is fetched unasked.
    Ask,
    /// As they come.
    Automatic,
}

/// What goes on that a restart would cut, and the guests that it would not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Leases whose image is on its way.
    pub fetching: u32,
    /// Guests that are being started.
    pub starting: u32,
    /// Guests that are being stopped.
    pub closing: u32,
    /// Ticks that wait for the other party's signature.
    pub unsigned: u32,
    /// Guests that run, slowed down and standing still included. They do not hold an update up.
    pub guests: u32,
}

impl Activity {
    /// Counts one more lease, and whether a tick of it is unsigned.
    pub fn count(&mut self, phase: &Phase, unsigned: bool) {
        match phase {
            Phase::Agreed | Phase::Fetching => self.fetching += 1,
            Phase::Starting => self.starting += 1,
            Phase::Running | Phase::Throttled { .. } => {
                self.guests += 1;
                self.unsigned += u32::from(unsigned);
            }
            // A tick that nobody signs for as long as it takes to freeze a guest is not waited for.
            Phase::Frozen(_) => self.guests += 1,
            Phase::Closing(_) => self.closing += 1,
            Phase::Ended(_) => {}
        }
    }

    /// Whether a restart would cut nothing.
    pub fn is_quiet(&self) -> bool {
        [self.fetching, self.starting, self.closing, self.unsigned].iter().all(|count| *count == 0)
    }
}

/// This node, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Here<'a> {
    /// Who it is.
    pub node: DeviceId,
    /// What runs now.
    pub version: Version,
    /// The channel that its owner follows. Who follows previews gets the stable versions too.
    pub channel: Channel,
    /// The name of the package that it came with.
    pub package: &'a str,
    /// What had installed it.
    pub kind: PackageKind,
    /// The processor's architecture as OCI names it.
    pub arch: &'a str,
    /// Whether the package lies here, its digest verified.
    pub fetched: bool,
    /// What goes on.
    pub activity: Activity,
    /// What the owner has said.
    pub wish: Wish,
    /// Whether the owner does not want to wait for the node's turn. It holds for the turn only.
    pub early: bool,
}

/// What to do about a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It is not for this node.
    Nothing(Reason),
    /// Not now.
    Wait(Hold),
    /// Tell the owner, and do nothing unasked.
    Offer(&'a Package),
    /// Bring the package here.
    Fetch(&'a Package),
    /// Let the platform install it, and start again.
    Install(&'a Package),
}

/// Why a release is not for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It runs already.
    #[error("{0} is what runs")]
    Running(Version),
    /// An update never goes back: an old version with a known hole is what an attacker would offer.
    #[error("{offered} is older than {running}, which runs: an update never goes back")]
    Older {
        /// What the release is of.
        offered: Version,
        /// What runs.
        running: Version,
    },
    /// It has stopped to act.
    #[error("this statement acted until a time that has passed")]
    Expired,
    /// A preview, and the owner did not ask to see those.
    #[error("{0} is a preview")]
    Preview(Version),
    /// The owner wants none.
    #[error("the owner has turned updates off")]
    Never,
    /// Nothing in it is for this system.
    #[error("there is no such package of {0} for this system")]
    NoPackage(Version),
}

/// Why not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// Its turn has not come.
    #[error("the turn of place {place} has not come: the cursor is at {cursor} of 10000")]
    Turn {
        /// Where this node stands in the order of this version.
        place: u16,
        /// How far it has gone out.
        cursor: u16,
        /// When its turn comes, if things go as they were announced.
        at: Option<Timestamp>,
    },
    /// Another version comes first.
    #[error("it takes the place of {minimum} and later only: a version between comes first")]
    TooOld {
        /// From which version on.
        minimum: Version,
    },
    /// A restart would cut something.
    #[error(
        "{} fetching, {} starting, {} stopping, {} to be signed: a restart now would cut them",
        .0.fetching, .0.starting, .0.closing, .0.unsigned
    )]
    Busy(Activity),
}

/// What to do about a release now.
pub fn decide<'a>(now: Timestamp, here: &Here<'_>, release: &'a Trusted) -> Decision<'a> {
    let release: &Release = &release.0;
    if let Some(reason) = not_for(now, here, release) {
        return Decision::Nothing(reason);
    }
    let Some(package) = release.package(here.package, here.kind, here.arch) else {
        return Decision::Nothing(Reason::NoPackage(release.version));
    };
    let (place, cursor) = (release.place(here.node), release.cursor(now));
    if place >= cursor && !here.early {
        return Decision::Wait(Hold::Turn { place, cursor, at: release.reaches(place) });
    }
    if here.version < release.minimum {
        return Decision::Wait(Hold::TooOld { minimum: release.minimum });
    }
    match here.wish {
        Wish::Never => Decision::Nothing(Reason::Never),
        Wish::Ask => Decision::Offer(package),
        Wish::Automatic if !here.fetched => Decision::Fetch(package),
        Wish::Automatic if !here.activity.is_quiet() => Decision::Wait(Hold::Busy(here.activity)),
        Wish::Automatic => Decision::Install(package),
    }
}

fn not_for(now: Timestamp, here: &Here<'_>, release: &Release) -> Option<Reason> {
    let (offered, running) = (release.version, here.version);
    if here.wish == Wish::Never {
        Some(Reason::Never)
    } else if offered == running {
        Some(Reason::Running(running))
    } else if offered < running {
        Some(Reason::Older { offered, running })
    } else if release.expires <= now {
        Some(Reason::Expired)
    } else if release.channel == Channel::Preview && here.channel == Channel::Stable {
        Some(Reason::Preview(offered))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::document::{ALL, Stage};
    use model::{EndReason, FreezeReason, Key, ObjectId, Span};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn version(minor: u32) -> Version {
        Version { major: 1, minor, patch: 0 }
    }

    /// The makers' key, of these tests only.
    fn makers() -> Key {
        Key::from_seed([9; 32])
    }

    fn release(cursor: u16) -> Release {
        Release {
            version: version(5),
            channel: Channel::Stable,
            minimum: version(2),
            packages: vec![Package {
                name: "sublet".into(),
                kind: PackageKind::Deb,
                arch: "amd64".into(),
                url: "https://example.org/sublet.deb".into(),
                size: 1,
                sha256: ObjectId([0; 32]),
            }],
            rollout: vec![Stage { at: NOW, cursor }],
            issued: NOW,
            expires: NOW + Span::days(30),
        }
    }

    fn trusted(release: &Release) -> Trusted {
        Trusted::of(makers().sign(release).unwrap(), &[makers().id()]).unwrap()
    }

    fn here(node: [u8; 32]) -> Here<'static> {
        Here {
            node: DeviceId(node),
            version: version(4),
            channel: Channel::Stable,
            package: "sublet",
            kind: PackageKind::Deb,
            arch: "amd64",
            fetched: true,
            activity: Activity::default(),
            wish: Wish::Automatic,
            early: false,
        }
    }

    /// One word for what was decided.
    fn word(decision: &Decision<'_>) -> &'static str {
        match decision {
            Decision::Nothing(_) => "nothing",
            Decision::Wait(_) => "wait",
            Decision::Offer(_) => "offer",
            Decision::Fetch(_) => "fetch",
            Decision::Install(_) => "install",
        }
    }

    fn decided(here: &Here<'_>, release: &Release) -> &'static str {
        word(&decide(NOW, here, &trusted(release)))
    }

    #[test]
    fn only_the_makers_word_counts() {
        let signed = makers().sign(&release(ALL)).unwrap();
        assert_eq!(Trusted::of(signed.clone(), &[]).unwrap_err(), Untrusted::Off);
        let other = Key::from_seed([8; 32]).id();
        assert_eq!(
            Trusted::of(signed.clone(), &[other]).unwrap_err(),
            Untrusted::Signer { found: makers().id() }
        );
        assert!(Trusted::of(signed, &[other, makers().id()]).is_ok());
    }

    #[test]
    fn it_goes_step_by_step() {
        let (all, mut here) = (release(ALL), here([1; 32]));
        assert_eq!(decided(&here, &all), "install");
        here.fetched = false;
        assert_eq!(decided(&here, &all), "fetch");
        here.wish = Wish::Ask;
        assert_eq!(decided(&here, &all), "offer");
        here.wish = Wish::Never;
        assert_eq!(decided(&here, &all), "nothing");
    }

    #[test]
    fn it_never_goes_back_nor_jumps() {
        let all = trusted(&release(ALL));
        let at = |minor| decide(NOW, &Here { version: version(minor), ..here([1; 32]) }, &all);
        assert_eq!(at(5), Decision::Nothing(Reason::Running(version(5))));
        assert_eq!(at(6), Decision::Nothing(Reason::Older { offered: version(5), running: version(6) }));
        assert_eq!(at(1), Decision::Wait(Hold::TooOld { minimum: version(2) }));
        assert_eq!(word(&at(2)), "install");
    }

    #[test]
    fn who_goes_before_the_turn_still_never_goes_back() {
        let none = release(0);
        let early = Here { early: true, ..here([1; 32]) };
        assert_eq!((decided(&here([1; 32]), &none), decided(&early, &none)), ("wait", "install"));
        assert_eq!(decided(&Here { version: version(6), ..early.clone() }, &none), "nothing");
        assert_eq!(decided(&Here { version: version(1), ..early }, &none), "wait");
    }

    #[test]
    fn what_is_not_for_this_node_is_left() {
        let (all, here) = (release(ALL), here([1; 32]));
        let preview = Release { channel: Channel::Preview, ..all.clone() };
        assert_eq!(decided(&here, &preview), "nothing");
        assert_eq!(decided(&Here { channel: Channel::Preview, ..here.clone() }, &preview), "install");
        assert_eq!(decided(&Here { channel: Channel::Preview, ..here.clone() }, &all), "install");
        assert_eq!(decided(&Here { arch: "arm64", ..here.clone() }, &all), "nothing");
        let late = decide(NOW + Span::days(30), &here, &trusted(&all)) == Decision::Nothing(Reason::Expired);
        assert!(late);
    }

    #[test]
    fn guests_run_on_and_what_a_restart_would_cut_is_waited_for() {
        let all = release(ALL);
        let with = |phases: &[(Phase, bool)]| {
            let mut activity = Activity::default();
            phases.iter().for_each(|(phase, unsigned)| activity.count(phase, *unsigned));
            decided(&Here { activity, ..here([1; 32]) }, &all)
        };
        let ended = Phase::Ended(EndReason::TermOver);
        let frozen = Phase::Frozen(FreezeReason::Unsigned);
        assert_eq!(with(&[(Phase::Running, false), (frozen, true), (ended, true)]), "install");
        assert_eq!(with(&[(Phase::Running, false), (Phase::Running, true)]), "wait");
        for cut in [Phase::Agreed, Phase::Fetching, Phase::Starting, Phase::Closing(EndReason::TermOver)] {
            assert_eq!(with(&[(Phase::Running, false), (cut, false)]), "wait", "{cut:?}");
        }
    }

    #[test]
    fn a_stopped_rollout_stays_stopped() {
        let open = release(ALL);
        let stopped =
            Release { issued: NOW + Span(1), rollout: vec![Stage { at: NOW, cursor: 0 }], ..open.clone() };
        for (first, second) in [(&open, &stopped), (&stopped, &open)] {
            let counts = trusted(first).or_later(trusted(second));
            assert_eq!(**counts.release(), stopped);
        }
        let next = Release { version: version(6), ..open };
        assert_eq!(**trusted(&stopped).or_later(trusted(&next)).release(), next);
    }

    #[test]
    fn as_many_nodes_get_it_as_the_cursor_says() {
        let nodes = 10_000u32;
        for cursor in [0, 100, 2_500, 5_000, 9_999, ALL] {
            let trusted = trusted(&release(cursor));
            let node = |number: u32| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&number.to_le_bytes());
                here(id)
            };
            let got =
                (0..nodes).filter(|number| word(&decide(NOW, &node(*number), &trusted)) == "install").count();
            // Five standard deviations of as many throws of a coin that falls so often.
            let share = f64::from(cursor) / f64::from(ALL);
            let slack = 5.0 * (f64::from(nodes) * share * (1.0 - share)).sqrt();
            let expected = f64::from(nodes) * share;
            assert!((got as f64 - expected).abs() <= slack + 0.5, "{got} of {nodes} at {cursor}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn who_has_it_keeps_it_as_the_cursor_grows(node: [u8; 32], one in 0..=ALL, other in 0..=ALL) {
            let (low, high) = (one.min(other), one.max(other));
            let (before, after) = (decided(&here(node), &release(low)), decided(&here(node), &release(high)));
            prop_assert!(before == "wait" || after == before);
            prop_assert_eq!(decided(&here(node), &release(0)), "wait");
            prop_assert_eq!(decided(&here(node), &release(ALL)), "install");
        }

        #[test]
        fn the_turn_comes_when_it_was_said(node: [u8; 32], cursors in prop::collection::vec(0..=ALL, 1..6)) {
            let mut cursors = cursors;
            cursors.sort_unstable();
            let at = |number: usize| NOW + Span::hours(number as u64 + 1);
            let rollout: Vec<Stage> =
                cursors.iter().enumerate().map(|(number, cursor)| Stage { at: at(number), cursor: *cursor }).collect();
            let staged = trusted(&Release { rollout, ..release(ALL) });
            let Decision::Wait(Hold::Turn { at: turn, .. }) = decide(NOW, &here(node), &staged) else {
                return Err(TestCaseError::fail("it starts with nobody"));
            };
            for hour in 1..8 {
                let now = NOW + Span::hours(hour);
                let has = word(&decide(now, &here(node), &staged)) == "install";
                prop_assert_eq!(has, turn.is_some_and(|turn| turn <= now));
                prop_assert_eq!(word(&decide(now, &here(node), &staged)), word(&decide(now, &here(node), &staged)));
            }
        }
    }
}
