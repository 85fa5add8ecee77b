//! What a browser gets: the pages, and the way in. The pages hold nothing of anybody; what they show they ask for under
//! `/v1`, where the guard looks at the cookie.

use super::Dashboard;
use super::sessions::REMEMBERED;
use crate::guard::{cookie_name, session_of};
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Form, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE, USER_AGENT,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use rust_embed::RustEmbed;
use serde::Deserialize;

/// The built pages. A debug build reads them from the disk at each request.
#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
struct Built;

/// Scripts of our own alone. Styles may stand inline: the terminal's widths and the charts' colours are computed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a door to the pages knows.
#[derive(Clone)]
struct Way {
    dashboard: Dashboard,
    port: u16,
    secure: bool,
}

/// The pages, for the door at this port; `secure` where it speaks TLS.
pub fn pages(dashboard: Dashboard, port: u16, secure: bool) -> Router {
    Router::new()
        .route("/login", get(login).post(passphrase))
        .route("/login/{code}", get(link))
        .route("/logout", post(logout))
        .fallback(page)
        .layer(middleware::map_response(guarded))
        .with_state(Way { dashboard, port, secure })
}

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn page(State(way): State<Way>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let is_page = path.is_empty() || path == "index.html";
    if is_page && !way.is_let_in(request.headers()) {
        return elsewhere("/login", None);
    }
    let name = if is_page { "index.html" } else { path };
    let Some(file) = Built::get(name) else {
        return Problem::new(StatusCode::NOT_FOUND, "no_page", format!("there is no page /{path}"))
            .into_response();
    };
    // Names of assets change with what is in them.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let kind = file.metadata.mimetype().to_owned();
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, cache.to_owned())], Body::from(file.data.into_owned()))
        .into_response()
}

/// A link that works once.
async fn link(State(way): State<Way>, Path(code): Path<String>, headers: HeaderMap) -> Response {
    match way.dashboard.sessions().enter(&code, agent(&headers)) {
        Some(shown) => elsewhere("/", Some(way.cookie(&shown))),
        None => way.ask("This link has been used, or is more than ten minutes old."),
    }
}

async fn login(State(way): State<Way>, headers: HeaderMap) -> Response {
    if way.is_let_in(&headers) { elsewhere("/", None) } else { way.ask("") }
}

#[derive(Deserialize)]
struct Given {
    passphrase: String,
}

async fn passphrase(State(way): State<Way>, headers: HeaderMap, Form(given): Form<Given>) -> Response {
    if !way.secure {
        return way.ask("A passphrase is for the local network: here a link is the way in.");
    }
    match way.dashboard.secret().is(given.passphrase).await {
        Ok(true) => match way.dashboard.sessions().admit(agent(&headers)) {
            Some(shown) => elsewhere("/", Some(way.cookie(&shown))),
            None => Problem::fault("the system gives no random bytes").into_response(),
        },
        Ok(false) => way.ask("This is not the passphrase."),
        Err(problem) => way.ask(&problem.detail),
    }
}

async fn logout(State(way): State<Way>, headers: HeaderMap) -> Response {
    if let Some(shown) = session_of(&headers, way.port, way.secure) {
        way.dashboard.sessions().end(&shown);
    }
    elsewhere("/login", Some(format!("{}=; Max-Age=0; Path=/", cookie_name(way.port, way.secure))))
}

fn agent(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

fn elsewhere(to: &'static str, cookie: Option<String>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, to), (CACHE_CONTROL, "no-store")]).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

impl Way {
    fn is_let_in(&self, headers: &HeaderMap) -> bool {
        session_of(headers, self.port, self.secure)
            .is_some_and(|shown| self.dashboard.sessions().knows(&shown))
    }

    fn cookie(&self, shown: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let (name, age) = (cookie_name(self.port, self.secure), REMEMBERED.as_secs());
        format!("{name}={shown}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}")
    }

    /// The way in, in one page without a script.
    fn ask(&self, why: &str) -> Response {
        let form = if self.secure {
            "<form method=post action=/login><label>Passphrase <input type=password name=passphrase autofocus required autocomplete=current-password></label> <button>Come in</button></form>"
        } else {
            "<p>On the computer on which this node runs, type <code>sublet dashboard</code>, and open the link that it prints. \
             If you are let in already, <a href=/>go on</a>.</p>"
        };
        // Both are our own words: nothing here comes from a request.
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Sublet</title>{STYLE}<main><h1>Sublet</h1><p role=alert>{why}</p>{form}</main>"
        );
        (StatusCode::UNAUTHORIZED, [(CACHE_CONTROL, "no-store")], Html(page)).into_response()
    }
}

const STYLE: &str = "<style>:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{display:grid;place-items:center;min-height:90vh;margin:0}\
    main{max-width:26rem;padding:2rem}h1{font-size:1.4rem}input{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.3rem 0 1rem}\
    button{font:inherit;padding:.5rem 1.2rem}code{font-size:.95em}</style>";
