//! What others lend.

use super::page;
use crate::door::{Door, find_host};
use crate::problem::{Body, Params, Problem};
use crate::shapes::{Found, Listing, Listings, Match, NearMiss, Query, Weight};
use axum::Json;
use axum::extract::State;
use node::Core;
use node::engine::market::{self, Miss, search as look_for};
use node::model::{DeviceId, Rate};
use serde::Deserialize;
use utoipa::IntoParams;

/// The most matches in an answer.
const MATCHES: usize = 100;

/// Which page of the market.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at the most; 100 when nobody says, and never more than 500.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// All offers that stand.
#[utoipa::path(get, path = "/v1/offers", tag = "market", params(Page), responses((status = 200, body = Listings)))]
pub async fn offers(State(door): State<Door>, Params(page): Params<Page>) -> Result<Json<Listings>, Problem> {
    let limit = self::page(page.limit);
    let listings = door.node.look(move |core| {
        let after = page.after.unwrap_or_default();
        let book = core.engine().book().standing(core.now());
        let mut rest = book.skip_while(|listing| !after.is_empty() && place(listing) <= after).peekable();
        let mut offers = Vec::new();
        let mut last = None;
        while let Some(listing) = rest.next_if(|_| offers.len() < limit) {
            last = Some(place(listing));
            offers.push(shape(core, listing));
        }
        Listings { next: last.filter(|_| rest.peek().is_some()), offers }
    });
    Ok(Json(listings.await?))
}

/// Where an offer stands in the book: by device, then by slot.
fn place(listing: &market::Listing) -> String {
    format!("{}.{:05}", listing.offer.signer(), listing.offer.slot)
}

/// What suits, best first, and why; and of what does not, what would have to give.
#[utoipa::path(post, path = "/v1/market/search", tag = "market", request_body = Query, responses((status = 200, body = Found)))]
pub async fn search(State(door): State<Door>, Body(query): Body<Query>) -> Result<Json<Found>, Problem> {
    let me = door.node.identity().party().device;
    let found = door.node.look(move |core| {
        let skip = query.skip;
        let query = read(core, &query, me)?;
        let found = look_for(core.engine().book(), core.engine().state(), core.now(), &query);
        Ok::<_, Problem>(Found {
            matches: found
                .matches
                .iter()
                .skip(skip)
                .take(MATCHES)
                .map(|found| matched(core, found, &query))
                .collect(),
            suits: found.matches.len(),
            near: found.near.iter().map(|near| near_miss(core, near)).collect(),
            looked_at: found.looked_at,
        })
    });
    found.await?.map(Json)
}

fn read(core: &Core, query: &Query, me: DeviceId) -> Result<market::Query, Problem> {
    Ok(market::Query {
        volumes: false,
        secrets: false,
        features: Vec::new(),
        devices: query.devices.clone(),
        resources: node::model::Resources {
            cpu_millis: query.cpu_millis,
            memory: query.memory_bytes,
            disk: query.disk_bytes,
        },
        term: query.term.0,
        cap: query.max_price.as_ref().map(|price| Rate::hourly(price.into())),
        mode: query.mode.map(Into::into),
        arch: query.arch.clone(),
        network: (&query.network).try_into()?,
        host: query.on.as_deref().map(|text| find_host(core, text)).transpose()?,
        min_core: query.min_core,
        min_trust: query.min_trust,
        me,
    })
}

fn matched(core: &Core, found: &market::Match, query: &market::Query) -> Match {
    let market::Weight { price_per_speed, trust, core: speed } = found.weight;
    Match {
        offer: shape(core, &found.listing),
        hourly: found.rate.hourly.into(),
        // Where the whole cannot be counted, nobody can agree to it either.
        whole_term: found.rate.over(query.term).unwrap_or(found.rate.hourly).into(),
        weight: Weight { price_per_speed, trust, core: speed },
    }
}

fn near_miss(core: &Core, near: &market::NearMiss) -> NearMiss {
    NearMiss { offer: shape(core, &near.listing), remedies: near.misses.iter().map(Miss::remedy).collect() }
}

fn shape(core: &Core, listing: &market::Listing) -> Listing {
    let party = listing.host.party;
    let trust = core.engine().state().reputation.score(party.person).trust();
    Listing::of(listing, core.engine().book().name(party.device), trust)
}
