//! Leases: made, watched, reached into, made longer, ended, judged, proven.

use super::page;
use crate::door::{Door, Names, find_host};
use crate::pack::{self, Pack};
use crate::problem::{Body, Params, Problem};
use crate::shapes::{
    Ago, Beside, HealthState, Lease, Leases, Marks, More, Port, Ports, RenewalAnswer, RentWish, SecretWish,
};
use axum::Json;
use axum::body::Body as Content;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream;
use node::engine::lease::Lease as Stands;
use node::model::document::volumes_room;
use node::model::message::LogView;
use node::model::{self, Id, Rate, Resources};
use node::{Core, Event, Forward, LogWish, NodeHandle, Rent};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::{IntoParams, ToSchema};

/// Finds a host and agrees a lease with it. Returns when both have signed; the image is fetched after.
#[utoipa::path(post, path = "/v1/leases", tag = "leases", request_body = RentWish, responses((status = 201, body = Lease)))]
pub async fn rent(
    State(door): State<Door>,
    Body(wish): Body<RentWish>,
) -> Result<(StatusCode, Json<Lease>), Problem> {
    let on = wish.on.clone();
    let host =
        door.node.look(move |core| on.as_deref().map(|text| find_host(core, text)).transpose()).await??;
    let volumes: Vec<model::Volume> = wish.volumes.iter().map(Into::into).collect();
    let rent = Rent {
        image: wish.image,
        command: wish.command,
        env: wish.env,
        resources: Resources {
            cpu_millis: wish.cpu_millis,
            memory: wish.memory_bytes,
            disk: wish.disk_bytes.saturating_add(volumes_room(&volumes)),
        },
        term: wish.term.0,
        cap: wish.max_price.as_ref().map(|price| Rate::hourly(price.into())),
        mode: wish.mode.map(Into::into),
        host,
        min_trust: wish.min_trust,
        volumes,
        devices: wish.devices,
        secrets: wish.secrets.into_iter().map(SecretWish::read).collect::<Result<_, _>>()?,
        network: (&wish.network).try_into()?,
        options: wish.options.into(),
        ports: wish.ports.iter().map(|port| (*port).into()).collect(),
    };
    let lease = agree(&door.node, rent).await?;
    Ok((StatusCode::CREATED, Json(shape(&door.node, lease).await?)))
}

/// Agrees a lease for somebody who waits. Once asked, a host may sign at any time: if whoever wanted it has gone by
/// then, the lease is ended, and no guest is left behind.
async fn agree(node: &NodeHandle, rent: Rent) -> Result<Id<model::Lease>, Problem> {
    let (tell, told) = oneshot::channel();
    let renting = node.clone();
    tokio::spawn(async move {
        let agreed = renting.rent(rent).await;
        if let Err(Ok(unwanted)) = tell.send(agreed)
            && let Err(error) = renting.stop(unwanted).await
        {
            tracing::warn!(lease = %unwanted.short(), %error, "a lease that nobody waited for goes on");
        }
    });
    Ok(told.await.map_err(|_| Problem::fault("the agreement broke off"))??)
}

/// Which leases.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Those that have ended in the last 30 days, too.
    #[serde(default)]
    all: bool,
    /// How many at the most; 100 when nobody says, and never more than 500.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Leases of this node: on other machines, and of others on this one. The newest first.
#[utoipa::path(get, path = "/v1/leases", tag = "leases", params(Which), responses((status = 200, body = Leases)))]
pub async fn list(State(door): State<Door>, Params(which): Params<Which>) -> Result<Json<Leases>, Problem> {
    let (limit, forwards) = (page(which.limit), door.node.forwards());
    let leases = door.node.look(move |core| {
        let wanted = core.engine().state().lease.all().filter(|lease| which.all || !lease.phase.is_ended());
        let mut wanted: Vec<&Stands> = wanted.collect();
        wanted.sort_by_key(|lease| std::cmp::Reverse((lease.agreed, lease.id())));
        let from = which
            .after
            .and_then(|after| wanted.iter().position(|lease| lease.id().to_string() == after))
            .map_or(0, |at| at + 1);
        let names = Names::of(core);
        let rest = wanted.get(from..).unwrap_or_default();
        let leases: Vec<Lease> =
            rest.iter().take(limit).map(|lease| read(core, &names, &forwards, lease)).collect();
        Leases { next: leases.last().filter(|_| rest.len() > limit).map(|last| last.id.clone()), leases }
    });
    Ok(Json(leases.await?))
}

/// One lease. The first digits of its id are enough.
#[utoipa::path(get, path = "/v1/leases/{id}", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = Lease)))]
pub async fn show(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<Lease>, Problem> {
    let id = door.node.find_lease(&id).await?;
    shape(&door.node, id).await.map(Json)
}

/// How long to wait.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Waiting {
    /// So many seconds at the most, up to 120.
    #[serde(default = "usual_wait")]
    within: u64,
    /// Until what; the end when nobody says.
    #[serde(default)]
    #[param(inline)]
    until: Until,
}

/// What is waited for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Until {
    /// The lease has ended.
    #[default]
    Ended,
    /// Its guest is well, or is not, or the lease has ended.
    Healthy,
}

fn usual_wait() -> u64 {
    60
}

const LONGEST_WAIT: u64 = 120;

/// How long after the end of a lease its host's word of how the guest's program ended is waited for.
const LAST_WORD: Duration = Duration::from_secs(2);

/// One lease, once it has ended, or its guest is well; or as it is when the time to wait is over: the lease tells which.
#[utoipa::path(get, path = "/v1/leases/{id}/wait", tag = "leases", params(("id" = String, Path), Waiting), responses((status = 200, body = Lease)))]
pub async fn wait(
    State(door): State<Door>,
    Path(id): Path<String>,
    Params(waiting): Params<Waiting>,
) -> Result<Json<Lease>, Problem> {
    let id = door.node.find_lease(&id).await?;
    if waiting.until == Until::Healthy && !door.node.is_checked(id).await? {
        let detail = format!("nothing tells whether the guest of lease {} is well", id.short());
        return Err(Problem::new(StatusCode::CONFLICT, "no_health_check", detail)
            .hint("Its image has no health check: rent with --health-cmd."));
    }
    let until = Instant::now() + Duration::from_secs(waiting.within.min(LONGEST_WAIT));
    // From before the first look on, so that no end is missed.
    let mut events = door.node.events();
    loop {
        let lease = shape(&door.node, id).await?;
        let is_seen = lease.health.as_ref().is_some_and(|health| health.state != HealthState::Starting);
        if waiting.until == Until::Healthy && is_seen {
            return Ok(Json(lease));
        }
        if lease.ended.is_some() {
            return last_word(&door.node, id).await.map(Json);
        }
        tokio::select! {
            moved = timeout_at(until, moved(&mut events, id)) => {
                if !moved.is_ok_and(|goes_on| goes_on) {
                    return Ok(Json(lease));
                }
            }
            () = door.closed.cancelled() => return Ok(Json(lease)),
        }
    }
}

/// A lease that has ended, with what its host says of that: it comes together with the end, and may be a moment late.
async fn last_word(node: &NodeHandle, id: Id<model::Lease>) -> Result<Lease, Problem> {
    let until = Instant::now() + LAST_WORD;
    while !node.is_told_how_it_ended(id).await? && Instant::now() < until {
        sleep(Duration::from_millis(50)).await;
    }
    shape(node, id).await
}

/// Whether there is anything more to wait for, once a lease has moved, or may have.
async fn moved(events: &mut Receiver<Event>, id: Id<model::Lease>) -> bool {
    loop {
        match events.recv().await {
            Ok(Event::Lease { lease, .. } | Event::Health { lease, .. }) if lease == id => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Ends a lease: as its tenant, or as the owner of the machine it runs on.
#[utoipa::path(delete, path = "/v1/leases/{id}", tag = "leases", params(("id" = String, Path)), responses((status = 202, body = Lease)))]
pub async fn stop(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Lease>), Problem> {
    let id = door.node.find_lease(&id).await?;
    door.node.stop(id).await?;
    Ok((StatusCode::ACCEPTED, Json(shape(&door.node, id).await?)))
}

/// Asks for more time. The lease shows the longer term once the host has signed.
#[utoipa::path(post, path = "/v1/leases/{id}/renew", tag = "leases", params(("id" = String, Path)), request_body = More, responses((status = 202, body = Lease)))]
pub async fn renew(
    State(door): State<Door>,
    Path(id): Path<String>,
    Body(more): Body<More>,
) -> Result<(StatusCode, Json<Lease>), Problem> {
    let id = door.node.find_lease(&id).await?;
    door.node.renew(id, more.more.0).await?;
    Ok((StatusCode::ACCEPTED, Json(shape(&door.node, id).await?)))
}

/// As host: answers a tenant who waits for more time, where the terms leave it to the owner.
#[utoipa::path(post, path = "/v1/leases/{id}/renewal", tag = "leases", params(("id" = String, Path)), request_body = RenewalAnswer, responses((status = 200, body = Lease)))]
pub async fn answer_renewal(
    State(door): State<Door>,
    Path(id): Path<String>,
    Body(answer): Body<RenewalAnswer>,
) -> Result<Json<Lease>, Problem> {
    let id = door.node.find_lease(&id).await?;
    door.node.answer_renewal(id, answer.grant).await?;
    shape(&door.node, id).await.map(Json)
}

/// Judges the other party of an ended lease.
#[utoipa::path(post, path = "/v1/leases/{id}/rate", tag = "leases", params(("id" = String, Path)), request_body = Marks, responses((status = 200, body = Lease)))]
pub async fn rate(
    State(door): State<Door>,
    Path(id): Path<String>,
    Body(marks): Body<Marks>,
) -> Result<Json<Lease>, Problem> {
    let id = door.node.find_lease(&id).await?;
    door.node.rate(id, [marks.kept, marks.quality, marks.manners], marks.text).await?;
    shape(&door.node, id).await.map(Json)
}

/// From where to read.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Reading {
    /// Whether to go on as output comes, until the guest ends.
    #[serde(default)]
    follow: bool,
    /// Bytes to leave out.
    #[serde(default)]
    from: u64,
    /// No line that came before: RFC 3339, or so long ago, such as `10m`.
    #[param(value_type = Option<String>)]
    since: Option<Ago>,
    /// No line that came after. With `follow`, it ends then.
    #[param(value_type = Option<String>)]
    until: Option<Ago>,
    /// Of the lines that are there, so many of the last.
    tail: Option<u32>,
    /// Whether each line begins with the time at which it came, by the host's clock, as RFC 3339 has it.
    #[serde(default)]
    timestamps: bool,
}

/// What a guest has printed: plain bytes, both of its outputs together; all that is kept, or some of its lines.
#[utoipa::path(
    get, path = "/v1/leases/{id}/logs", tag = "leases", params(("id" = String, Path), Reading),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub async fn logs(
    State(door): State<Door>,
    Path(id): Path<String>,
    Params(reading): Params<Reading>,
) -> Result<Response, Problem> {
    let id = door.node.find_lease(&id).await?;
    let view = LogView {
        since: reading.since.map(Ago::moment),
        until: reading.until.map(Ago::moment),
        tail: reading.tail,
        timestamps: reading.timestamps,
    };
    let wish = LogWish { from: reading.from, follow: reading.follow, view };
    let reader = door.node.logs(id, wish).await?;
    let pieces = stream::try_unfold((reader, door.closed.clone()), |(mut reader, closed)| async move {
        tokio::select! {
            piece = reader.next() => Ok::<_, std::io::Error>(piece?.map(|piece| (piece, (reader, closed)))),
            () = closed.cancelled() => Ok(None),
        }
    });
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Content::from_stream(pieces)).into_response())
}

/// Ports of this computer that lead into the guest.
#[utoipa::path(get, path = "/v1/leases/{id}/ports", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = Ports)))]
pub async fn ports(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<Ports>, Problem> {
    let id = door.node.find_lease(&id).await?;
    Ok(Json(Ports { ports: of(id, &door.node.forwards()) }))
}

/// Lets a port of this computer lead to a port of the guest that the lease names.
#[utoipa::path(post, path = "/v1/leases/{id}/ports", tag = "leases", params(("id" = String, Path)), request_body = Port, responses((status = 201, body = Port)))]
pub async fn open_port(
    State(door): State<Door>,
    Path(id): Path<String>,
    Body(port): Body<Port>,
) -> Result<(StatusCode, Json<Port>), Problem> {
    let id = door.node.find_lease(&id).await?;
    let forward = door.node.forward(id, port.into()).await?;
    Ok((StatusCode::CREATED, Json(forward.port.into())))
}

/// Everything signed that belongs to a lease, in one file: whoever has it can check it, without this node and without
/// a network.
#[utoipa::path(get, path = "/v1/leases/{id}/pack", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = Pack)))]
pub async fn pack(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<Pack>, Problem> {
    let id = door.node.find_lease(&id).await?;
    pack::gather(&door.node, id).await.map(Json)
}

async fn shape(node: &NodeHandle, id: Id<model::Lease>) -> Result<Lease, Problem> {
    let forwards = node.forwards();
    let found = node.look(move |core| {
        core.engine().state().lease.get(id).map(|lease| read(core, &Names::of(core), &forwards, lease))
    });
    found.await?.ok_or_else(|| node::Error::UnknownLease(id.to_string()).into())
}

fn read(core: &Core, names: &Names, forwards: &[Forward], lease: &Stands) -> Lease {
    let name = core.engine().book().name(lease.other().device).or(names.get(lease.other().person));
    Lease::of(
        lease,
        Beside {
            name,
            fetching: core.fetching(lease.id()),
            health: core.health(lease.id()),
            ports: of(lease.id(), forwards),
        },
    )
}

fn of(id: Id<model::Lease>, forwards: &[Forward]) -> Vec<Port> {
    forwards.iter().filter(|forward| forward.lease == id).map(|forward| Port::from(forward.port)).collect()
}
