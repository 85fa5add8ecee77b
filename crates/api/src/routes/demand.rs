//! Why no work comes.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{Demand, DemandState, Demands, Moment, Money, Obstacle, demand_words};
use axum::Json;
use axum::extract::State;
use node::Core;
use node::engine::capacity;
use node::model::{Amount, Resources, Timestamp};
use std::collections::BTreeMap;

/// What was wanted of this machine, what stood in the way, and the price that would have won; where nobody asked, why
/// that may be.
#[utoipa::path(get, path = "/v1/demand", tag = "offer", responses((status = 200, body = Demands)))]
pub async fn list(State(door): State<Door>) -> Result<Json<Demands>, Problem> {
    let peers = door.node.peers().await.len();
    let addresses = door.node.net().addresses().await;
    Ok(Json(door.node.look(move |core| demands(core, peers, &addresses)).await?))
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
    let words = words(core, &demands, &obstacles, peers, addresses);
    Demands { since: Moment(core.started()), words, obstacles, demands }
}

/// What there is to say, the weightiest first.
fn words(
    core: &Core,
    demands: &[Demand],
    obstacles: &[Obstacle],
    peers: usize,
    addresses: &[String],
) -> Vec<String> {
    let mut words = standing_in_the_way(core, peers, addresses);
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

/// What keeps work away whoever asks.
fn standing_in_the_way(core: &Core, peers: usize, addresses: &[String]) -> Vec<String> {
    let state = core.engine().state();
    let mut words = Vec::new();
    if state.market.speed.is_none() {
        words.push("this computer was not measured, so nothing can be lent: `sublet bench`".to_owned());
    }
    let Some(share) = &state.market.share else {
        words.push("nothing is lent: `sublet offer set` begins".to_owned());
        return words;
    };
    if let Some(reason) = state.owner.stance().reason() {
        words.push(format!("nothing new is lent now: {reason}; `sublet policy` tells more"));
    }
    let free = capacity::free(Some(share), &state.lease, core.now());
    if !free.holds(&Resources { cpu_millis: 100, memory: 16 << 20, disk: 0 }) {
        words.push("all that is lent is promised".to_owned());
    }
    if state.market.standing(core.now()).is_none() {
        words.push("the offer is not published yet".to_owned());
    }
    if peers == 0 {
        words.push(
            "no peer is connected, so nobody sees the offer: `sublet peers add ADDRESS` meets one".to_owned(),
        );
    } else if !addresses.iter().any(|address| is_public(address)) {
        words.push(
            "no address of this node is known to be reached from the internet: the local network, and peers who hold a connection, see it"
                .to_owned(),
        );
    }
    words
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
