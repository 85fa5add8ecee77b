//! What is true of the door, tried with a real node behind it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use sublet_api::node::{self, Config, NodeHandle};
use sublet_api::shapes::{
    BucketLength, Build, ElectricityWish, LeaseState, Network, OwnerPolicy, OwnerState, Pause, Query,
    RentWish, Schedule, Seconds, ShareWish,
};
use sublet_api::{Client, ClientError, Guard, Token, router, serve, socket_path, token_path};
use tempfile::TempDir;
use tower::ServiceExt;

const PORT: u16 = 7391;

/// A node in a directory of its own, which meets nobody.
struct House {
    node: NodeHandle,
    data: TempDir,
}

impl House {
    async fn new() -> House {
        let data = tempfile::tempdir().unwrap();
        let config = Config {
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()],
            mdns: false,
            upnp: false,
            ..Config::new(data.path().to_owned())
        };
        House { node: node::start(config).await.unwrap(), data }
    }

    fn token(&self) -> Token {
        Token::load(&token_path(self.data.path())).unwrap()
    }

    /// The answer of the guarded door, and what it says.
    async fn ask(&self, request: Request<Body>) -> (StatusCode, Value) {
        let door = router(self.node.clone(), Guard::Token { token: self.token(), port: PORT });
        let response = door.oneshot(request).await.unwrap();
        let (status, kind) = (response.status(), response.headers().get(header::CONTENT_TYPE).cloned());
        let said = response.into_body().collect().await.unwrap().to_bytes();
        let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
        assert_eq!(kind.as_ref().map(|kind| kind.as_bytes()), Some(expected.as_bytes()), "{said:?}");
        (status, serde_json::from_slice(&said).unwrap())
    }

    /// A request of a program that may come in.
    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let request =
            Request::builder().method(method).uri(path).header(header::HOST, format!("127.0.0.1:{PORT}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token().reveal()));
        request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
    }

    async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, problem) = self.ask(self.request(method, path, body.to_string().into())).await;
        assert_eq!(problem["status"], status.as_u16(), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_s_programs_come_in() {
    let house = House::new().await;
    let good = || house.request(Method::GET, "/v1/status", Body::empty());
    let (status, said) = house.ask(good()).await;
    assert_eq!(
        (status, &said["me"]["device"]),
        (StatusCode::OK, &json!(house.node.identity().party().device.to_string()))
    );

    let mut nameless = good();
    nameless.headers_mut().remove(header::AUTHORIZATION);
    let mut foreign = good();
    foreign.headers_mut().insert(header::HOST, "sublet.evil.example:7391".parse().unwrap());
    let mut page = good();
    page.headers_mut().insert(header::ORIGIN, "https://evil.example".parse().unwrap());
    for (request, status, code) in
        [(nameless, 401, "no_token"), (foreign, 403, "wrong_host"), (page, 403, "wrong_origin")]
    {
        let (got, problem) = house.ask(request).await;
        assert_eq!((got.as_u16(), problem["code"].as_str()), (status, Some(code)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_asked_is_described() {
    let house = House::new().await;
    let (status, described) = house.ask(house.request(Method::GET, "/v1/openapi.json", Body::empty())).await;
    assert_eq!(status, StatusCode::OK);
    assert!(described["paths"]["/v1/leases"]["post"]["requestBody"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_a_problem_with_a_sentence() {
    let house = House::new().await;
    let id = "ab".repeat(32);
    let cases = [
        (Method::GET, "/v1/nothing".to_owned(), json!({}), 404, "unknown_route"),
        (Method::DELETE, "/v1/status".to_owned(), json!({}), 405, "method_not_allowed"),
        (Method::POST, "/v1/market/search".to_owned(), json!("what"), 422, "bad_body"),
        (Method::POST, "/v1/market/search".to_owned(), json!({ "cpus": 1 }), 422, "bad_body"),
        (Method::POST, "/v1/market/search".to_owned(), json!({ "term": -1 }), 422, "bad_body"),
        (Method::POST, "/v1/market/search".to_owned(), json!({ "on": "abcdef" }), 404, "unknown_host"),
        (Method::POST, "/v1/market/search".to_owned(), json!("x".repeat(300_000)), 413, "body_too_large"),
        // Secrets come with it.
        (Method::POST, "/v1/leases".to_owned(), json!("x".repeat(300_000)), 422, "bad_body"),
        (Method::POST, "/v1/leases".to_owned(), json!("x".repeat(1_100_000)), 413, "body_too_large"),
        (Method::GET, "/v1/leases?all=perhaps".to_owned(), json!({}), 400, "bad_query"),
        (Method::GET, format!("/v1/leases/{id}"), json!({}), 404, "unknown_lease"),
        (Method::DELETE, format!("/v1/leases/{id}"), json!({}), 404, "unknown_lease"),
        (Method::GET, "/v1/leases/zz/logs".to_owned(), json!({}), 404, "unknown_lease"),
        (Method::GET, format!("/v1/leases/{id}/pack"), json!({}), 404, "unknown_lease"),
        (Method::GET, "/v1/images/nothing".to_owned(), json!({}), 404, "unknown_image"),
        (Method::POST, "/v1/images/import".to_owned(), json!({ "path": "relative" }), 422, "relative_path"),
        (Method::GET, "/v1/reputation/ff".to_owned(), json!({}), 404, "unknown_person"),
        (Method::POST, "/v1/peers".to_owned(), json!({ "address": "nowhere" }), 422, "network"),
        (Method::PUT, "/v1/offer".to_owned(), json!({}), 409, "not_measured"),
        (
            Method::POST,
            "/v1/owner/pause".to_owned(),
            json!({ "for": 60, "until_tomorrow": true }),
            422,
            "out_of_range",
        ),
        (
            Method::POST,
            "/v1/owner/pause".to_owned(),
            json!({ "until": "2001-01-01T00:00:00Z" }),
            422,
            "out_of_range",
        ),
        (Method::PUT, "/v1/owner/policy".to_owned(), json!({ "lending": "sometimes" }), 422, "bad_body"),
        (
            Method::PUT,
            "/v1/electricity".to_owned(),
            json!({ "tariff": { "micros": 1, "currency": "credit" }, "milliwatts_per_core": 1 }),
            422,
            "out_of_range",
        ),
        (Method::GET, "/v1/earnings?by=fortnight".to_owned(), json!({}), 400, "bad_query"),
        (
            Method::PUT,
            "/v1/offer".to_owned(),
            json!({ "memory_bytes": 1_u64 << 60 }),
            409,
            "more_than_there_is",
        ),
    ];
    for (method, path, body, status, code) in cases {
        assert_eq!(house.refused(method, &path, body).await, (status, code.to_owned()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_measured_can_be_lent_and_taken_back() {
    let house = House::new().await;
    let client = served(&house).await;
    house
        .node
        .measured(node::model::Speed { core: 1_000, cores: 1_000, memory: 1_000, disk: 1_000 })
        .await
        .unwrap();
    let wish = ShareWish {
        cpu_millis: Some(500),
        longest: Some(Seconds(node::model::Span::hours(2))),
        ..ShareWish::default()
    };
    let offer = client.set_offer(&wish).await.unwrap();
    let share = offer.share.unwrap();
    assert_eq!(
        (share.resources.cpu_millis, share.resources.memory_bytes),
        (500, offer.suggested.resources.memory_bytes)
    );
    assert_eq!(share.terms.longest, wish.longest.unwrap());
    // What was named before stays.
    let again =
        client.set_offer(&ShareWish { region: Some("DE".to_owned()), ..ShareWish::default() }).await.unwrap();
    assert_eq!(again.share.unwrap().resources.cpu_millis, 500);
    assert_eq!(client.unset_offer().await.unwrap().share, None);
    assert!(client.record().await.unwrap().records >= 4);
    // Our own offer is nobody's to rent from ourselves.
    assert_eq!(client.search(&Query::default()).await.unwrap().looked_at, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_the_node_by_its_directory_or_its_port() {
    let house = House::new().await;
    let data = house.data.path().to_owned();
    let nobody = Client::of(&data).status().await.unwrap_err();
    assert!(matches!(nobody, ClientError::NoNode(dir) if dir == data));

    let serving = serve(house.node.clone(), &data, Some(0)).await.unwrap();
    let by_socket = Client::of(&data).status().await.unwrap();
    let by_port = Client::at(serving.address, house.token().reveal().to_owned()).status().await.unwrap();
    assert_eq!(by_socket.me, by_port.me);
    let stranger = Client::at(serving.address, "0".repeat(64)).status().await.unwrap_err();
    assert!(matches!(stranger, ClientError::Problem(problem) if problem.code == "no_token"));
    let announced: Value = serde_json::from_slice(&std::fs::read(data.join("api.json")).unwrap()).unwrap();
    assert_eq!(announced, json!({ "address": serving.address, "pid": std::process::id() }));

    let mut events = Client::of(&data).events().await.unwrap();
    Client::of(&data).shut_down().await.unwrap();
    serving.closed().await;
    assert_eq!(events.next().await.unwrap(), None, "the stream ends with the node");
    serving.stop().await;
    assert!(!socket_path(&data).exists() && !data.join("api.json").exists());
    assert!(matches!(Client::of(&data).status().await.unwrap_err(), ClientError::NoNode(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_built_listed_and_removed() {
    let house = House::new().await;
    let client = served(&house).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello"), "world").unwrap();
    let wish = Build {
        dir: folder.path().to_owned(),
        name: Some("example/app:1".to_owned()),
        cmd: Some(vec!["/hello".to_owned()]),
        ..Build::default()
    };
    let built = client.build(&wish).await.unwrap().done(|_| {}).await.unwrap();
    assert_eq!(client.images().await.unwrap().images, std::slice::from_ref(&built));
    let inspected = client.image("example/app:1").await.unwrap();
    assert_eq!((&inspected.image.digest, inspected.cmd), (&built.digest, vec!["/hello".to_owned()]));

    let again = client.build(&Build { name: Some("other:1".to_owned()), ..wish.clone() }).await.unwrap();
    let again = again.done(|_| {}).await.unwrap();
    assert_eq!(again.digest, built.digest, "the same folder is the same image");
    let one_of_two = client.remove_image("other:1").await.unwrap_err();
    assert!(matches!(one_of_two, ClientError::Problem(problem) if problem.code == "several_names"));

    let wish = RentWish {
        image: "example/app:1".to_owned(),
        command: Vec::new(),
        env: Vec::new(),
        cpu_millis: 100,
        memory_bytes: 64 << 20,
        disk_bytes: 0,
        term: Seconds(node::model::Span::minutes(1)),
        max_price: None,
        mode: None,
        on: None,
        min_trust: 0,
        options: Default::default(),
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        ports: Vec::new(),
        network: Network::None,
    };
    let nobody = client.rent(&wish).await.unwrap_err();
    assert!(matches!(nobody, ClientError::Problem(problem) if problem.code == "no_offer"));
    assert!(
        client
            .leases(true, None)
            .await
            .unwrap()
            .leases
            .iter()
            .all(|lease| lease.standing.state == LeaseState::Ended)
    );

    client.remove_image(&built.digest).await.unwrap();
    let missing = Build { dir: PathBuf::from("/nowhere/at/all"), ..Build::default() };
    let failed = client.build(&missing).await.unwrap().done(|_| {}).await.unwrap_err();
    assert!(matches!(failed, ClientError::Problem(problem) if problem.detail.contains("/nowhere/at/all")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_benchmark_that_nobody_waits_for_ends() {
    let house = House::new().await;
    let client = served(&house).await;
    let (begun, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let measuring = client.benchmark().await.unwrap().done(|progress| begun.send(progress).unwrap());
    tokio::select! {
        measured = measuring => panic!("measured in no time: {measured:?}"),
        _ = progress.recv() => {}
    }
    // The one before is dropped, and stops soon after.
    let patience = std::time::Instant::now();
    while let Err(busy) = client.benchmark().await {
        assert!(matches!(busy, ClientError::Problem(problem) if problem.code == "busy"));
        assert!(patience.elapsed().as_secs() < 5, "it goes on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The node's API on a free port; it is served until the test ends.
async fn served(house: &House) -> Client {
    let serving = serve(house.node.clone(), house.data.path(), Some(0)).await.unwrap();
    tokio::spawn(async move {
        serving.closed().await;
        serving.stop().await;
    });
    Client::of(house.data.path())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_comes_first_through_the_door() {
    let house = House::new().await;
    let _serving = serve(house.node.clone(), house.data.path(), Some(0)).await.unwrap();
    let client = Client::of(house.data.path());
    let owner = client.owner().await.unwrap();
    assert_eq!((owner.state, owner.ruled), (OwnerState::Lending, false));

    let paused = client.pause(&Pause { until_tomorrow: true, ..Pause::default() }).await.unwrap();
    let reason = paused.reason.unwrap();
    assert_eq!((paused.state, reason.kind.as_str()), (OwnerState::Frozen, "paused"));
    assert!(reason.until.unwrap().0 > reason.since.unwrap().0);
    assert_eq!(client.status().await.unwrap().owner.map(|reason| reason.kind), Some("paused".to_owned()));
    assert_eq!(client.resume().await.unwrap().reason, None);

    let mut policy = owner.policy;
    policy.in_use.alone_for = Seconds(node::model::Span::minutes(7));
    let shire = Schedule { zone: "Middle-earth/Shire".into(), ..night() };
    let wrong =
        client.set_policy(&OwnerPolicy { schedule: Some(shire), ..policy.clone() }).await.unwrap_err();
    assert!(matches!(wrong, ClientError::Problem(problem) if problem.code == "unknown_zone"));
    let set = OwnerPolicy { schedule: Some(night()), ..policy };
    assert_eq!(client.set_policy(&set).await.unwrap().policy, set);

    let core_hour = client.electricity().await.unwrap();
    assert_eq!(core_hour, None);
    let tariff = node::model::Amount::new(400_000, node::model::Currency::Iso(*b"EUR")).into();
    let wish = ElectricityWish { tariff, milliwatts_per_core: Some(10_000) };
    let electricity = client.set_electricity(&wish).await.unwrap().unwrap();
    assert_eq!(electricity.core_hour.micros, 4_000);
    assert_eq!(client.offer().await.unwrap().floor, Some(electricity.core_hour.clone()));
    let earnings = client.earnings(BucketLength::Month).await.unwrap();
    assert_eq!((earnings.buckets.len(), earnings.electricity), (0, Some(electricity)));

    let demands = client.demands().await.unwrap();
    assert!(demands.words.iter().any(|word| word.contains("sublet bench")), "{:?}", demands.words);
    assert!(demands.words.iter().any(|word| word.contains("nobody has asked")), "{:?}", demands.words);
}

/// Each night, by the clocks of Berlin.
fn night() -> Schedule {
    let day = || vec!["00:00-06:30".to_owned(), "22:00-24:00".to_owned()];
    Schedule {
        zone: "Europe/Berlin".into(),
        monday: day(),
        tuesday: day(),
        wednesday: day(),
        thursday: day(),
        friday: day(),
        saturday: day(),
        sunday: Vec::new(),
    }
}
