//! What goes in and out of a guest.

use std::time::{Duration, Instant};

use sublet_machine::guest::{GuestError, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::house::{House, PATIENCE};

crate::truths![
    output_arrives_with_its_stream_and_time,
    output_is_there_as_soon_as_it_is_printed,
    a_guest_can_open_its_output_again,
    environment_and_directory_are_as_asked,
    a_port_of_the_guest_can_be_reached,
    a_port_where_nobody_listens_is_an_error_with_its_number,
    a_long_data_directory_is_no_obstacle,
];

async fn output_arrives_with_its_stream_and_time(house: House) {
    let id = house.start("echo to out; echo to err >&2; printf '\\377'").await;
    house.printed(id).await;
    let pieces = house.guests.logs(id, 0, PATIENCE).await.expect("a log").pieces;
    let of = |wanted| {
        pieces
            .iter()
            .filter(move |piece| piece.stream == wanted)
            .flat_map(|piece| piece.bytes.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Out), b"to out\n\xFF");
    assert_eq!(of(Stream::Err), b"to err\n");
    let started = house.see(id).await.usage.started_at;
    assert!(pieces.iter().all(|piece| piece.at.abs_diff(started) < 5000));
}

async fn output_is_there_as_soon_as_it_is_printed(house: House) {
    let id = house.start("sleep 0.5; echo now; sleep 60").await;
    let asked = Instant::now();
    let chunk = house.guests.logs(id, 0, Duration::from_secs(20)).await.expect("a log");
    assert_eq!(chunk.pieces[0].bytes, b"now\n");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let patience = Duration::from_millis(100);
    let nothing = house.guests.logs(id, chunk.next, patience).await.expect("a log");
    assert!(nothing.pieces.is_empty() && !nothing.ended);
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    assert!(house.guests.logs(id, chunk.next, patience).await.expect("a log").ended);
}

pub async fn a_guest_can_open_its_output_again(mut house: House) {
    let mut spec = house.spec("echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin; echo end");
    spec.user = "web".into();
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert!(printed.contains("out\n") && printed.contains("err\n") && printed.contains("end\n"), "{printed}");
    assert_eq!(house.exit_code(spec.id).await, 0);
}

pub async fn environment_and_directory_are_as_asked(house: House) {
    let mut spec = house.spec("pwd; echo $COLOUR $HOME; hostname; cat /etc/hosts");
    spec.env = vec!["COLOUR=red".into()];
    spec.cwd = "/work/deep".into();
    spec.hostname = "inn".into();
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert!(printed.starts_with("/work/deep\nred /root\ninn\n127.0.0.1\tlocalhost inn\n"), "{printed}");
}

pub async fn a_port_of_the_guest_can_be_reached(house: House) {
    // Port 80, as a guest that is not root.
    let mut spec = house.spec("echo up; nc -l -p 80 -e cat");
    spec.user = "web".into();
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    let mut stream = loop {
        match house.guests.connect(spec.id, 80).await {
            Ok(stream) => break stream,
            Err(GuestError::Connect { .. }) => sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other}"),
        }
    };
    stream.write_all(b"hello").await.expect("written");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"hello");
    // The same port of this machine is another port.
    assert_ne!(stream.local_addr().expect("an address").port(), 80);
    house.guests.stop(spec.id, Duration::ZERO).await.expect("it stops");
}

async fn a_port_where_nobody_listens_is_an_error_with_its_number(mut house: House) {
    // Somebody listens there outside, where the guest's network must not lead.
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = outside.local_addr().expect("an address").port();
    let id = house.start("sleep 60").await;
    let refusal = house.guests.connect(id, port).await.expect_err("a refusal");
    assert!(matches!(refusal, GuestError::Connect { port: named, .. } if named == port), "{refusal}");
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    house.exit_code(id).await;
    let refusal = house.guests.connect(id, port).await.expect_err("a refusal");
    assert!(matches!(refusal, GuestError::NotRunning(_)), "{refusal}");
}

async fn a_long_data_directory_is_no_obstacle(mut house: House) {
    house.move_guests_to(&format!("{}/guests", "long".repeat(40)));
    let id = house.start("exit 6").await;
    assert_eq!(house.exit_code(id).await, 6);
}
