//! All routes in one place, each with its description, its limits and its guard.

use crate::dashboard::pages;
use crate::door::Door;
use crate::guard::{self, Guard};
use crate::problem::{Document, Problem};
use crate::routes::{
    dashboard, demand, diagnostics, earning, files, identity, image, image_store, lease, ledger, machine,
    market, node, offer, owner, peer, people, reputation, selftest, session, settings, settlement, statement,
    stats, update, volume,
};
use ::node::NodeHandle;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use std::time::Duration;
use tokio::time::timeout;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest body. A command and its environment are some 64 KiB at the most.
const LARGEST_BODY: usize = 256 * 1024;

/// The largest wish for a guest: all of its secrets come with it, in base64.
const LARGEST_WISH: usize = 1024 * 1024;

/// How long a plain answer may take.
const PLAIN: Duration = Duration::from_secs(30);

/// How long an agreement may take: the signature of a host that has vanished is waited for.
const AGREEMENT: Duration = Duration::from_secs(150);

/// The door to a node, for whom the guard lets in.
pub fn router(node: NodeHandle, guard: Guard) -> Router {
    with_door(Door::new(node), guard)
}

/// The same, with a door that is shared.
pub(crate) fn with_door(door: Door, guard: Guard) -> Router {
    let (router, _) = described();
    let router = router.route("/v1/openapi.json", get(written));
    // Below /v1 is the API alone; all else is the pages, where they are served.
    let pages = match &guard {
        Guard::Browser { dashboard, port, secure, .. } => Some(pages(dashboard.clone(), *port, *secure)),
        Guard::Owner | Guard::Token { .. } => None,
    };
    let router = match pages {
        Some(pages) => router.route("/v1/{*rest}", any(unknown)).fallback_service(pages),
        None => router.fallback(unknown),
    };
    router
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(guard, guard::check))
        .with_state(door)
}

/// What can be asked, as it was committed: as a tree it would take megabytes of each node's memory.
async fn written() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("../openapi.json")).into_response()
}

/// What can be asked, as OpenAPI says it. The committed `openapi.json` is the same.
pub fn openapi() -> OpenApi {
    described().1
}

fn described() -> (Router<Door>, OpenApi) {
    let plain = OpenApiRouter::new()
        .routes(routes!(node::status))
        .routes(routes!(node::record))
        .routes(routes!(node::shutdown))
        .routes(routes!(diagnostics::diagnostics))
        .routes(routes!(machine::doctor))
        .routes(routes!(machine::inventory))
        .routes(routes!(offer::show, offer::set, offer::unset))
        .routes(routes!(machine::measurements))
        .routes(routes!(demand::list))
        .routes(routes!(demand::what_if))
        .routes(routes!(earning::earnings))
        .routes(routes!(owner::show))
        .routes(routes!(owner::rule))
        .routes(routes!(owner::pause, owner::resume))
        .routes(routes!(market::offers))
        .routes(routes!(market::search))
        .routes(routes!(lease::list))
        .routes(routes!(lease::show, lease::stop))
        .routes(routes!(lease::renew))
        .routes(routes!(lease::answer_renewal))
        .routes(routes!(lease::rate))
        .routes(routes!(lease::ports, lease::open_port))
        .routes(routes!(lease::pack))
        .routes(routes!(stats::stats))
        .routes(routes!(stats::processes))
        .routes(routes!(image::list))
        .routes(routes!(image::inspect, image::remove))
        .routes(routes!(image_store::show, image_store::set))
        .routes(routes!(image_store::collect))
        .routes(routes!(image_store::open))
        .routes(routes!(volume::list))
        .routes(routes!(volume::show, volume::remove))
        .routes(routes!(volume::remove_snapshot))
        .routes(routes!(ledger::balances))
        .routes(routes!(ledger::postings))
        .routes(routes!(statement::statement))
        .routes(routes!(settlement::payments, settlement::pay))
        .routes(routes!(settlement::answer))
        .routes(routes!(reputation::all))
        .routes(routes!(reputation::one))
        .routes(routes!(peer::list, peer::add))
        .routes(routes!(settings::show, settings::set))
        .routes(routes!(update::show))
        .routes(routes!(dashboard::show))
        .routes(routes!(dashboard::link))
        .routes(routes!(dashboard::passphrase))
        .routes(routes!(dashboard::end_all))
        .routes(routes!(identity::show))
        .routes(routes!(identity::words))
        .routes(routes!(identity::confirm))
        .routes(routes!(identity::lock))
        .routes(routes!(identity::unlock))
        .routes(routes!(identity::forget))
        .routes(routes!(identity::restore))
        .routes(routes!(people::list))
        .routes(routes!(people::one, people::regard, people::forget))
        .routes(routes!(people::invites, people::invite))
        .routes(routes!(people::join))
        .routes(routes!(people::withdraw))
        .layer(from_fn_with_state(PLAIN, in_time));
    let agreement = OpenApiRouter::new()
        .merge(OpenApiRouter::new().routes(routes!(lease::rent)).layer(DefaultBodyLimit::max(LARGEST_WISH)))
        .routes(routes!(earning::electricity, earning::set_electricity, earning::unset_electricity))
        .routes(routes!(update::check))
        .routes(routes!(volume::snapshot))
        .layer(from_fn_with_state(AGREEMENT, in_time));
    let streams = OpenApiRouter::new()
        .routes(routes!(node::events))
        .routes(routes!(machine::measure_speed))
        .routes(routes!(selftest::isolation))
        .routes(routes!(lease::logs))
        .routes(routes!(stats::stats_live))
        .routes(routes!(lease::wait))
        .routes(routes!(session::exec))
        .routes(routes!(session::attach))
        .routes(routes!(files::get, files::put))
        .routes(routes!(ledger::export))
        .routes(routes!(image::pull))
        .routes(routes!(image::import))
        .routes(routes!(image::build))
        .routes(routes!(update::fetch))
        .routes(routes!(volume::export))
        .routes(routes!(volume::import));
    let info = InfoBuilder::new().title("Sublet").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    let all = OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .merge(plain)
        .merge(agreement)
        .merge(streams);
    let (router, mut description) = all.split_for_parts();
    name_by_subject(&mut description);
    every_route_may_fail(&mut description);
    (router, description)
}

const ABOUT: &str = "The one door to a Sublet node. Ids are hexadecimal, lengths of time are seconds, moments are RFC 3339, \
    sizes are bytes, scores are thousandths. Whatever is not granted is answered with a problem (RFC 9457).";

/// Handlers are called alike in each file; in the description a name stands once.
fn name_by_subject(description: &mut OpenApi) {
    for operation in operations(description) {
        let subject = operation.tags.iter().flatten().next().map_or("", String::as_str);
        operation.operation_id = operation.operation_id.as_ref().map(|name| format!("{subject}_{name}"));
    }
}

fn operations(description: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    let paths = description.paths.paths.values_mut();
    paths.flat_map(|path| {
        [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
    })
}

/// Adds the problem to each route's answers, so that no route can forget it.
fn every_route_may_fail(description: &mut OpenApi) {
    let schema = RefOr::Ref(Ref::from_schema_name(Document::name()));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let problem =
        ResponseBuilder::new().description("Why not.").content("application/problem+json", content).build();
    for operation in operations(description) {
        operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
    }
    let schemas = &mut description.components.get_or_insert_default().schemas;
    schemas.insert(Document::name().into_owned(), Document::schema());
    // They are told on streams, whose parts the description of an answer cannot name.
    schemas.insert(
        crate::shapes::BenchmarkProgress::name().into_owned(),
        crate::shapes::BenchmarkProgress::schema(),
    );
    schemas
        .insert(crate::shapes::UpdateProgress::name().into_owned(), crate::shapes::UpdateProgress::schema());
    schemas.insert(crate::shapes::Probe::name().into_owned(), crate::shapes::Probe::schema());
    schemas.insert(crate::shapes::ImageProgress::name().into_owned(), crate::shapes::ImageProgress::schema());
    // And these in the messages of WebSockets.
    schemas.insert(crate::shapes::ExecWish::name().into_owned(), crate::shapes::ExecWish::schema());
    schemas.insert(crate::shapes::TerminalSize::name().into_owned(), crate::shapes::TerminalSize::schema());
    schemas.insert(crate::shapes::SessionOrder::name().into_owned(), crate::shapes::SessionOrder::schema());
    schemas.insert(crate::shapes::SessionNews::name().into_owned(), crate::shapes::SessionNews::schema());
}

async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("there was no answer within {} s", limit.as_secs());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

async fn unknown(request: Request) -> Problem {
    let detail = format!("there is nothing at {}", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", detail)
        .hint("GET /v1/openapi.json lists what there is.")
}

async fn not_allowed(request: Request) -> Problem {
    let detail = format!("{} takes no {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .hint("GET /v1/openapi.json lists what there is.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `SUBLET_REWRITE=1 cargo test -p sublet-api` writes it anew.
    #[test]
    fn the_committed_description_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let now = openapi().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("SUBLET_REWRITE").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == now, "openapi.json is not what the routes say; SUBLET_REWRITE=1 writes it anew");
    }

    #[test]
    fn no_two_operations_have_one_name() {
        let mut description = openapi();
        let names: Vec<String> =
            operations(&mut description).filter_map(|operation| operation.operation_id.clone()).collect();
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
    }

    #[test]
    fn no_shape_is_named_that_is_not_described() {
        let text = openapi().to_json().unwrap();
        let description: serde_json::Value = serde_json::from_str(&text).unwrap();
        for named in text.split("#/components/schemas/").skip(1) {
            let name = named.split('"').next().unwrap();
            assert!(description["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
