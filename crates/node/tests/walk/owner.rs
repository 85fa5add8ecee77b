//! The owner comes first, with real guests: what a machine sees reaches the guest, the tenant and the bill.

use super::{Pair, last_receipt, until};
use engine::owner::Command;
use machine::presence::{Eyes, Fact, Pretended, Source, pretended};
use model::{FreezeReason, Id, Lease, OwnerReason, Phase, Policy, ReasonKind, Rule, Span};
use node::{LogWish, NodeHandle};
use node::{engine, machine};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Prints a dot every 50 ms.
const DOTS: [&str; 3] = ["sh", "-c", "trap exit TERM; while :; do echo .; sleep 0.05; done"];

/// Far more than the second that is promised: the machine may do much else, and the bench measures.
const SOON: Duration = Duration::from_secs(10);

fn eyes() -> (Eyes, Pretended) {
    let kinds = [ReasonKind::OnBattery, ReasonKind::InUse, ReasonKind::FullScreen];
    let (source, mut tell) = pretended("a pretended desk", &kinds);
    tell.tells([Fact::OnBattery(false), Fact::Idle(Span::hours(1)), Fact::FullScreen(false)]);
    let source = std::sync::Mutex::new(Some(source));
    let eyes = Eyes::new(move |_| {
        let source = source.lock().expect("nobody panics").take();
        source.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect()
    });
    (eyes, tell)
}

async fn dots(node: &NodeHandle, lease: Id<Lease>) -> usize {
    let mut logs = node.logs(lease, LogWish::default()).await.expect("output");
    let mut dots = 0;
    while let Some(piece) = logs.next().await.expect("a piece") {
        dots += piece.iter().filter(|byte| **byte == b'.').count();
    }
    dots
}

/// Whether the guest prints nothing for a while.
async fn is_still(node: &NodeHandle, lease: Id<Lease>) -> bool {
    let before = dots(node, lease).await;
    sleep(Duration::from_millis(600)).await;
    dots(node, lease).await == before
}

fn reason(phase: &Phase) -> Option<ReasonKind> {
    phase.owner().map(|reason| reason.kind())
}

pub async fn a_pause_holds_a_guest_and_its_end_lets_it_go() {
    let pair = Pair::meet().await;
    let lease = pair.run(&DOTS).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let paused = Instant::now();
    pair.host.first(Command::Pause { until: None }).await.expect("paused");
    let told = until(&pair.tenant, lease, |phase| phase.owner().is_some()).await;
    assert_eq!(told, Phase::Frozen(FreezeReason::Owner(OwnerReason::Paused { until: None })));
    assert!(paused.elapsed() < SOON);
    assert!(is_still(&pair.host, lease).await);
    let refused = pair.run(&DOTS).await.expect_err("nothing new is lent");
    assert_eq!(refused.code(), "owner_first");
    pair.host.first(Command::Resume).await.expect("resumed");
    until(&pair.tenant, lease, |phase| *phase == Phase::Running).await;
    assert!(!is_still(&pair.host, lease).await);
    pair.tenant.stop(lease).await.expect("stopped");
    let usage = last_receipt(&pair.tenant, lease).await.usage;
    assert!(usage.frozen >= Span(600), "{usage:?}");
}

pub async fn what_the_machine_sees_freezes_and_throttles() {
    let (eyes, mut tell) = eyes();
    let pair = Pair::meet_with(eyes).await;
    let policy = Policy { in_use: Rule { answer: model::Answer::Throttle, level: 60 }, ..Policy::default() };
    pair.host.first(Command::Rule(policy)).await.expect("a policy");
    let lease = pair.run(&DOTS).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;

    tell.tells([Fact::OnBattery(false), Fact::Idle(Span::ZERO), Fact::FullScreen(false)]);
    let throttled = until(&pair.tenant, lease, |phase| phase.owner().is_some()).await;
    assert_eq!(throttled, Phase::Throttled { reason: OwnerReason::InUse, percent: 25 });
    // Half a core was promised.
    assert_eq!(quota(lease, "12500").await, "12500");

    tell.tells([Fact::OnBattery(true), Fact::Idle(Span::hours(1)), Fact::FullScreen(false)]);
    until(&pair.tenant, lease, |phase| reason(phase) == Some(ReasonKind::OnBattery)).await;
    assert!(is_still(&pair.host, lease).await);

    tell.tells([Fact::OnBattery(false), Fact::Idle(Span::hours(1)), Fact::FullScreen(false)]);
    until(&pair.tenant, lease, |phase| *phase == Phase::Running).await;
    assert_eq!(quota(lease, "50000").await, "50000");
    pair.tenant.stop(lease).await.expect("stopped");
    let usage = last_receipt(&pair.tenant, lease).await.usage;
    assert!(usage.throttled > Span::ZERO && usage.frozen >= Span(600), "{usage:?}");
}

/// The microseconds of each tenth of a second that the guest's group may use, once they are as expected, or late.
async fn quota(lease: Id<Lease>, expected: &str) -> String {
    let begun = Instant::now();
    loop {
        let files = ["/sys/fs/cgroup/cpu/sublet/{}/cpu.cfs_quota_us", "/sys/fs/cgroup/sublet/{}/cpu.max"];
        let read = files
            .iter()
            .find_map(|file| std::fs::read_to_string(file.replace("{}", &lease.to_string())).ok());
        let quota = read.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned();
        if quota == expected || begun.elapsed() > SOON {
            return quota;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

pub async fn a_host_learns_why_it_was_passed_by() {
    let pair = Pair::meet().await;
    let euro = |text: &str| Some(model::Rate::hourly(text.parse().expect("an amount")));
    let cheap = node::Rent { cap: euro("1 EUR"), ..super::rent(&["sh"]) };
    pair.tenant.rent(cheap).await.expect_err("half a core costs 1.8 EUR an hour");
    let begun = Instant::now();
    let demand = loop {
        let newest = pair.host.look(|core| core.demands().all().next().cloned()).await.expect("a look");
        if let Some(demand) = newest {
            break demand;
        }
        assert!(begun.elapsed() < SOON, "the host is told");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(demand.failed(), ["too_dear"]);
    let prices = super::share().prices;
    // 3.6 EUR for a core, of which half for at most 1 EUR is wanted.
    assert_eq!(demand.winning_core_price(&prices), Some("2 EUR".parse().expect("an amount")));

    let lease = pair.run(&["sh", "-c", "exit 0"]).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_ended).await;
    let outcomes =
        pair.host.look(|core| core.demands().all().map(|demand| demand.outcome.clone()).collect::<Vec<_>>());
    assert_eq!(outcomes.await.expect("a look").first(), Some(&node::DemandOutcome::Taken));
}
