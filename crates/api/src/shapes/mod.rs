//! What travels through the door: the shapes of requests and answers, and how they come from what the node knows.
//!
//! Ids are hexadecimal, lengths of time are seconds, moments are RFC 3339, sizes are bytes, scores are thousandths.

mod basic;
mod bounds;
mod dashboard;
mod demand;
mod diagnostics;
mod earning;
mod event;
mod health;
mod identity;
mod image;
mod image_store;
mod lease;
mod ledger;
mod machine;
mod network;
mod offer;
mod owner;
mod peer;
mod people;
mod reputation;
mod run;
mod secret;
mod selftest;
mod session;
mod settings;
mod settlement;
mod stats;
mod status;
mod update;
mod volume;

pub use basic::{Ago, LogsWish, Mode, Moment, Money, Party, Resources, Seconds, Side};
pub use bounds::{Loss, RenewalAnswer, RenewalStands, Renewing};
pub use dashboard::{Browser, Dashboard, LanDoor, Link, NewPassphrase};
pub use demand::{Demand, DemandState, Demands, Obstacle, Supposed, WhatIf, Would, in_words as demand_words};
pub use diagnostics::{Diagnostics, LeaseSketch, PeerSketch};
pub use earning::{Bucket, BucketLength, Earnings, Electricity, ElectricityWish};
pub use event::Event;
pub use health::{Health, HealthCheck, HealthChecked, HealthState, HealthWish};
pub use identity::{Identity, KeyPlace, Passphrase, Restored, Words};
pub use image::{Build, Image, ImageProgress, Images, Import, Inspection, Login, Part, Pull};
pub use image_store::{CollectWish, Collected, ImageRoom, ImageRules, ImageRulesWish, ImageStore, Openness};
pub use lease::{
    Beside, Blame, Fetching, Lease, LeaseState, Leases, Marks, More, Ports, RentWish, Standing, Total,
    Workload,
};
pub use ledger::{
    Account, Booked, Ledger, Posting, Postings, Statement, StatementAccount, StatementKind, StatementLine,
};
pub use machine::{
    BenchmarkProgress, Benchmarks, Doctor, Figures, Finding, FindingState, Inventory, Measured, Measurement,
};
pub use network::{Network, Port, Protocol, Traffic};
pub(crate) use offer::features;
pub use offer::{
    Audience, Found, LentDevice, Listing, Listings, Match, MyOffer, NearMiss, Prices, Published, Query,
    Renewal, Share, ShareWish, Speed, Terms, Weight,
};
pub use owner::{
    Answer, Busy, Customs, Hot, InUse, Lending, LowCharge, Owner, OwnerState, Pause, Policy as OwnerPolicy,
    Programs, Reason, RuleSight, RuleStanding, RuleState, Schedule, facts, ranges, read_range,
};
pub use peer::{Dial, Met, Path, Peer, Peers};
pub use people::{
    Accepted, AcceptedState, Device, Invite, InviteWish, Invites, Join, People, Person, Regard, Regarding,
};
pub use reputation::{Aspect, Reputation, Score};
pub use run::{Restart, RunOptions, Tmpfs};
pub use secret::{SecretEncoding, SecretName, SecretReaders, SecretWish};
pub use selftest::{Isolation, Probe, Tested};
pub use session::{ExecWish, SessionNews, SessionOrder, TerminalSize};
pub use settings::{Notice, Settings, SettingsWish};
pub use settlement::{Payment, PaymentAnswer, PaymentState, PaymentWish, Payments};
pub use stats::{GuestProcess, GuestProcesses, Stats, StatsLimits, StatsSample};
pub use status::{RecordChecked, Status};
pub use update::{Update, UpdateDecision, UpdatePackage, UpdateProgress, UpdateWish, Updates};
pub use volume::{
    HostedVolume, RentedVolume, SnapshotWish, Volume, VolumeCopied, VolumeExport, VolumeImport, VolumeSeen,
    Volumes,
};
