//! Why no work comes.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{
    Demand, DemandState, Demands, Moment, Money, Obstacle, Reason, ShareWish, Supposed, WhatIf, Would,
    demand_words,
};
use crate::share;
use axum::Json;
use axum::extract::State;
use node::Core;
use node::engine::capacity;
use node::engine::market::{Past, rate, suppose};
use node::model::{self, Amount, Rate, Resources, Timestamp};
use std::collections::BTreeMap;

/// What was wanted of this machine, what stood in the way, and the price that would have won; where nobody asked, why
/// that may be.
#[utoipa::path(get, path = "/v1/demand", tag = "offer", responses((status = 200, body = Demands)))]
pub async fn list(State(door): State<Door>) -> Result<Json<Demands>, Problem> {
    let peers = door.node.peers().await.len();
    let addresses = door.node.net().addresses().await;
    Ok(Json(door.node.look(move |core| demands(core, peers, &addresses)).await?))
}

/// What would have come of the demands that are kept, had this machine been lent otherwise. What is left out is as it is
/// lent now. Nothing is changed by it.
#[utoipa::path(post, path = "/v1/demand/what-if", tag = "offer", request_body = ShareWish, responses((status = 200, body = WhatIf)))]
pub async fn what_if(State(door): State<Door>, Body(wish): Body<ShareWish>) -> Result<Json<WhatIf>, Problem> {
    let lent = door.node.look(|core| core.engine().state().market.clone()).await?;
    let speed = lent.speed.unwrap_or(share::UNMEASURED);
    let now = match lent.share {
        Some(share) => share,
        None => super::offer::suggested(&door, &speed).await?,
    };
    let other = share::with(now.clone(), &wish, &speed)?;
    let supposed = door.node.look(move |core| {
        let judge = |wanted| judge(&now, &other, &speed, wanted);
        core.demands().all().map(judge).collect::<Vec<_>>()
    });
    Ok(Json(sum_up(supposed.await?)))
}

/// A demand, what would have come of it, and what it cost and would cost over its whole term.
fn judge(
    now: &model::Share,
    other: &model::Share,
    speed: &model::Speed,
    wanted: &node::Demand,
) -> (Supposed, Option<Amount>, Option<Amount>) {
    let failed = wanted.failed();
    let past = Past { resources: wanted.resources, term: wanted.term, cap: wanted.cap, failed: &failed };
    let came = failed.is_empty();
    let would = suppose(now, other, speed, &past);
    let over = |rate: Rate| rate.over(wanted.term).ok();
    let cost = if came { rate(&now.prices, &wanted.resources, speed).ok().and_then(over) } else { None };
    let would_cost = would.as_ref().ok().copied().and_then(over);
    let supposed = Supposed {
        demand: Demand::of(wanted, Some(&now.prices)),
        would: match (came, would.is_ok()) {
            (false, true) => Would::Come,
            (true, true) => Would::Stay,
            (true, false) => Would::Go,
            (false, false) => Would::Fail,
        },
        hourly: would.as_ref().ok().map(|rate| rate.hourly.into()),
        failed: would.err().unwrap_or_default().into_iter().map(str::to_owned).collect(),
    };
    (supposed, cost, would_cost)
}

fn sum_up(judged: Vec<(Supposed, Option<Amount>, Option<Amount>)>) -> WhatIf {
    let count = |would| judged.iter().filter(|(supposed, _, _)| supposed.would == would).count();
    WhatIf {
        comes: count(Would::Come),
        stays: count(Would::Stay),
        goes: count(Would::Go),
        worth_now: sum(judged.iter().filter_map(|(_, cost, _)| *cost)),
        worth: sum(judged.iter().filter_map(|(_, _, cost)| *cost)),
        demands: judged.into_iter().map(|(supposed, _, _)| supposed).collect(),
    }
}

fn sum(mut amounts: impl Iterator<Item = Amount>) -> Option<Money> {
    let first = amounts.next()?;
    amounts.try_fold(first, |sum, amount| sum.plus(amount).ok()).map(Money::from)
}

fn demands(core: &Core, peers: usize, addresses: &[String]) -> Demands {
    let share = core.engine().state().market.share.as_ref();
    let prices = share.map(|share| &share.prices);
    let demands: Vec<Demand> = core.demands().all().map(|wanted| Demand::of(wanted, prices)).collect();
    let mut by_code: BTreeMap<&str, (usize, Option<Amount>)> = BTreeMap::new();
    for (demand, wanted) in demands.iter().zip(core.demands().all()) {
        for code in &demand.failed {
            let (count, best) = by_code.entry(code).or_default();
            *count += 1;
            let price = prices.and_then(|prices| wanted.winning_core_price(prices));
            *best = [*best, price].into_iter().flatten().max_by_key(|price| price.micros);
        }
    }
    let mut obstacles: Vec<Obstacle> = by_code
        .into_iter()
        .map(|(code, (count, best))| Obstacle {
            code: code.to_owned(),
            sentence: demand_words(code).to_owned(),
            demands: count,
            winning_core_price: best.map(Money::from),
        })
        .collect();
    obstacles.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.demands));
    let in_the_way = in_the_way(core, peers, addresses);
    let owner = core.engine().state().owner.stance().reason();
    let owner = owner.filter(|_| in_the_way.contains(&"owner_first"));
    let owner = owner.map(|reason| Reason::of(reason, None));
    let words = words(core, &demands, &obstacles, &in_the_way, owner.as_ref());
    let in_the_way = in_the_way.into_iter().map(str::to_owned).collect();
    Demands { since: Moment(core.started()), words, in_the_way, owner, obstacles, demands }
}

/// What there is to say, the weightiest first.
fn words(
    core: &Core,
    demands: &[Demand],
    obstacles: &[Obstacle],
    in_the_way: &[&str],
    owner: Option<&Reason>,
) -> Vec<String> {
    let mut words: Vec<String> = in_the_way.iter().map(|code| sentence(code, owner)).collect();
    let count = |state| demands.iter().filter(|demand| demand.outcome == state).count();
    let (taken, quoted) = (count(DemandState::Taken), count(DemandState::Quoted));
    let since = Timestamp::since(core.now(), core.started());
    match demands.len() {
        0 => words.push(format!("nobody has asked since the node started {since} ago")),
        all => words.push(format!(
            "{all} demands in {since}: {taken} became leases, {quoted} got a quote and took another host or still think, {} asked in vain or passed by",
            all - taken - quoted
        )),
    }
    for obstacle in obstacles {
        let price = obstacle.winning_core_price.as_ref();
        let price = price.map(|price| format!("; at {} a core-hour one of them would have come", price.text));
        words.push(format!("{} x {}{}", obstacle.demands, obstacle.sentence, price.unwrap_or_default()));
    }
    words
}

/// What keeps work away whoever asks, as codes.
fn in_the_way(core: &Core, peers: usize, addresses: &[String]) -> Vec<&'static str> {
    let state = core.engine().state();
    let unmeasured = state.market.speed.is_none().then_some("not_measured");
    let Some(share) = &state.market.share else {
        return unmeasured.into_iter().chain(["nothing_lent"]).collect();
    };
    let free = capacity::free(Some(share), &state.lease, core.now());
    let little = Resources { cpu_millis: 100, memory: 16 << 20, disk: 0 };
    let seen = match peers {
        0 => Some("no_peer"),
        _ => (!addresses.iter().any(|address| is_public(address))).then_some("not_public"),
    };
    [
        unmeasured,
        state.owner.stance().reason().map(|_| "owner_first"),
        (!free.holds(&little)).then_some("all_promised"),
        state.market.standing(core.now()).is_none().then_some("not_published"),
        seen,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn sentence(code: &str, owner: Option<&Reason>) -> String {
    match (code, owner) {
        ("not_measured", _) => "this computer was not measured, so nothing can be lent: `sublet bench`",
        ("nothing_lent", _) => "nothing is lent: `sublet offer set` begins",
        ("owner_first", Some(reason)) => {
            return format!("nothing new is lent now: {}; `sublet policy` tells more", reason.sentence);
        }
        ("all_promised", _) => "all that is lent is promised",
        ("not_published", _) => "the offer is not published yet",
        ("no_peer", _) => {
            "no peer is connected, so nobody sees the offer: `sublet peers add ADDRESS` meets one"
        }
        ("not_public", _) => {
            "no address of this node is known to be reached from the internet: the local network, and peers who hold a connection, see it"
        }
        (code, _) => code,
    }
    .to_owned()
}

/// Whether a multiaddress leads here from anywhere: directly, or by a relay.
fn is_public(address: &str) -> bool {
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("ip4"), Some(ip)) => ip.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }),
        (Some("ip6"), Some(ip)) => {
            ip.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.segments()[0] & 0xE000 == 0x2000)
        }
        (Some(name), Some(_)) => name.starts_with("dns"),
        (Some(_), None) | (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_here_from_anywhere_is_public() {
        for yes in ["/ip4/8.8.8.8/tcp/1", "/ip6/2001:db8::1/udp/1/quic-v1", "/dns4/example.org/tcp/1"] {
            assert!(is_public(yes), "{yes}");
        }
        for no in [
            "/ip4/192.168.1.7/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "",
            "/x",
        ] {
            assert!(!is_public(no), "{no}");
        }
    }
}
