use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::header;
use lastgood_testing::{Chaos, ChaosProxy};
use object_store::PutOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

mod gcs;
mod moto;

use self::gcs::{Gcs, service_account};
use self::moto::filled_moto;
use super::bucket::{BucketSpec, Credentials};
use super::*;
use crate::arguments::Argument;
use crate::source::ConnectOptions;
use crate::source::selector::Take;

const STOCK: &str = r#"{"symbol":"AAPL","data_points":[{"close":1.10},{"close":2.00}]}"#;

fn parameters() -> Vec<String> {
    vec!["symbol".to_owned(), "days".to_owned()]
}

fn new(bucket: &Bucket, key: &str, want: Want) -> Result<ObjectTemplate, ObjectError> {
    ObjectTemplate::new(bucket.clone(), &ObjectSpec::new("stocks", key, want), &parameters())
}

fn opened(spec: &BucketSpec) -> Result<Bucket, ObjectError> {
    Bucket::open("stocks", spec, &ConnectOptions::default())
}

fn document(bucket: &Bucket, key: &str, selector: Selector) -> ObjectTemplate {
    new(bucket, key, Want::Document(selector)).unwrap()
}

fn names(bucket: &Bucket, key: &str) -> ObjectTemplate {
    new(bucket, key, Want::Names).unwrap()
}

fn latest() -> Selector {
    Selector {
        path: vec!["data_points".to_owned()],
        take: Take::Last,
        keep: vec!["symbol".to_owned()],
        ..Selector::default()
    }
}

fn symbol(value: &str) -> Arguments {
    Arguments(vec![("symbol".to_owned(), Argument::Text(value.to_owned()))])
}

async fn answer(object: &ObjectTemplate, value: &str) -> Result<(String, Held), Error> {
    match object.load(&symbol(value), None).await? {
        Loaded::Answer(Answer { body, validator, content_type, fresh_for }) => {
            assert_eq!((content_type.as_str(), fresh_for), ("application/json", None));
            Ok((String::from_utf8(body.to_vec()).unwrap(), Held { body, validator }))
        }
        other => panic!("{other:?}"),
    }
}

async fn reason(object: &ObjectTemplate, value: &str) -> Reason {
    answer(object, value).await.unwrap_err().reason
}

/// What must hold for every kind of bucket with `daily/AAPL.json` and `daily/MSFT.json` in it.
async fn serves_stocks(bucket: &Bucket, rewrite: impl AsyncFn(&str)) {
    let whole = document(bucket, "daily/{symbol}.json", Selector::default());
    assert_eq!(answer(&whole, "AAPL").await.unwrap().0, STOCK);
    assert_eq!(reason(&whole, "NONE").await, Reason::NotFound);
    for harmful in ["..", "../secret", "a/b", "", "a\\b", "%2e%2e%2fsecret", ".", "a\0"] {
        assert_eq!(reason(&whole, harmful).await, Reason::NotFound, "{harmful:?}");
    }
    let all = names(bucket, "daily/*.json");
    assert_eq!(answer(&all, "").await.unwrap().0, r#"["AAPL","MSFT"]"#);
    let mut few = names(bucket, "daily/*.json");
    few.max_names = 1;
    assert_eq!(reason(&few, "").await, Reason::Malformed);
    assert_eq!(reason(&names(bucket, "nothing/*.json"), "").await, Reason::NotFound);
    for object in [&whole, &all, &document(bucket, "daily/AAPL.json", Selector::default())] {
        object.check().await.unwrap();
    }
    assert!(document(bucket, "daily/NONE.json", Selector::default()).check().await.is_err());

    let latest = document(bucket, "daily/{symbol}.json", latest());
    let (body, held) = answer(&latest, "AAPL").await.unwrap();
    assert_eq!(body, r#"{"symbol":"AAPL","data_points":{"close":2.00}}"#);
    let again = async |object: &ObjectTemplate| object.load(&symbol("AAPL"), Some(&held)).await.unwrap();
    assert!(matches!(again(&latest).await, Loaded::Unchanged));
    assert!(matches!(again(&whole).await, Loaded::Answer(_)), "what another selection brought is not this one's");
    let mut small = document(bucket, "daily/{symbol}.json", Selector::default());
    small.max_bytes = STOCK.len() - 1;
    assert_eq!(reason(&small, "AAPL").await, Reason::Malformed);
    rewrite("not found, said the proxy").await;
    let why = latest.load(&symbol("AAPL"), Some(&held)).await.unwrap_err();
    assert_eq!(why.reason, Reason::Malformed);
    assert_eq!(reason(&whole, "AAPL").await, Reason::Malformed);
}

#[tokio::test]
async fn a_folder_is_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("stocks/daily/deeper")).unwrap();
    fs::write(folder.path().join("secret.json"), "{}").unwrap();
    let stocks = folder.path().join("stocks");
    for (name, content) in [("AAPL.json", STOCK), ("MSFT.json", STOCK), ("readme.txt", "x"), ("deeper/X.json", "{}")] {
        fs::write(stocks.join("daily").join(name), content).unwrap();
    }
    let bucket = opened(&BucketSpec::new(format!("file:{}", stocks.display()))).unwrap();
    let aapl = stocks.join("daily/AAPL.json");
    serves_stocks(&bucket, async |content| fs::write(&aapl, content).unwrap()).await;
}

#[tokio::test]
async fn links_that_lead_out_of_the_folder_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
    for place in [&inside, &outside] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("real.json"), "{}").unwrap();
    }
    let link = |to: &PathBuf, name: &str| std::os::unix::fs::symlink(to, inside.join(name)).unwrap();
    link(&outside.join("real.json"), "file.json");
    link(&outside, "folder");
    link(&inside.join("real.json"), "harmless.json");
    Command::new("mkfifo").arg(inside.join("pipe.json")).status().unwrap();
    let bucket = opened(&BucketSpec::new(format!("file:{}", inside.display()))).unwrap();
    let object = document(&bucket, "{symbol}.json", Selector::default());
    assert!(answer(&object, "real").await.is_ok() && answer(&object, "harmless").await.is_ok());
    assert_eq!(reason(&object, "file").await, Reason::NotFound);
    assert_eq!(reason(&object, "pipe").await, Reason::NotFound);
    assert_eq!(reason(&document(&bucket, "folder/{symbol}.json", Selector::default()), "real").await, Reason::NotFound);
    assert_eq!(reason(&names(&bucket, "folder/*.json"), "").await, Reason::NotFound);
}

#[tokio::test]
async fn one_odd_file_does_not_keep_the_others_from_being_listed() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
    for place in [&inside, &outside] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("AAPL.json"), "{}").unwrap();
    }
    let long = format!("{}.json", "L".repeat(250));
    for name in ["MSFT.json", "ÄÖ.json", "with blank.json", long.as_str()] {
        fs::write(inside.join(name), "{}").unwrap();
    }
    for name in
        [&b"\xff\xfe.json"[..], b"line\nbreak.json", b"tab\t.json", b"\x7f.json", b"back\\slash.json", b"star*.json"]
    {
        fs::write(inside.join(std::ffi::OsStr::from_bytes(name)), "{}").unwrap();
    }
    fs::create_dir(inside.join("directory.json")).unwrap();
    Command::new("mkfifo").arg(inside.join("pipe.json")).status().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket.json")).unwrap();
    symlink("nowhere", inside.join("dangling.json")).unwrap();
    symlink("circle.json", inside.join("circle.json")).unwrap();
    symlink(outside.join("AAPL.json"), inside.join("LEAK.json")).unwrap();
    symlink(&outside, inside.join("LEAKS.json")).unwrap();
    symlink("/dev/zero", inside.join("endless.json")).unwrap();
    symlink("AAPL.json", inside.join("SAME.json")).unwrap();
    let bucket = opened(&BucketSpec::new(format!("file:{}", inside.display()))).unwrap();
    let listed: Vec<String> = serde_json::from_str(&answer(&names(&bucket, "*.json"), "").await.unwrap().0).unwrap();
    for name in ["AAPL", "MSFT", "SAME", "with blank", "ÄÖ", long.strip_suffix(".json").unwrap()] {
        assert!(listed.iter().any(|listed| listed == name), "{name} in {listed:?}");
    }
    for name in ["directory", "pipe", "socket", "dangling", "circle", "LEAK", "LEAKS", "endless", "line\nbreak"] {
        assert!(!listed.iter().any(|listed| listed == name), "{name} in {listed:?}");
    }
    // Listed objects can be read, others cannot.
    let object = document(&bucket, "{symbol}.json", Selector::default());
    for name in &listed {
        assert!(answer(&object, name).await.is_ok(), "{name}");
    }
    for name in ["LEAK", "dangling", "circle", "pipe", "endless", "directory"] {
        assert_eq!(reason(&object, name).await, Reason::NotFound, "{name}");
    }
    let check = names(&bucket, "*.json");
    assert_eq!(Source::check(&check).await.map_err(|why| why.to_string()), Ok(()));
}

#[tokio::test]
async fn s3_is_a_bucket() {
    let moto = filled_moto().await;
    let bucket = opened(&moto.options()).unwrap();
    let rewrite = async |content: &str| {
        let path = bucket.path("daily/AAPL.json").unwrap();
        bucket.store().put_opts(&path, content.to_owned().into(), PutOptions::default()).await.unwrap();
    };
    serves_stocks(&bucket, rewrite).await;
    let mut gone = moto.options();
    gone.url = "s3://gone".to_owned();
    let gone = document(&opened(&gone).unwrap(), "{symbol}.json", Selector::default());
    assert_eq!(reason(&gone, "AAPL").await, Reason::Upstream, "a bucket that is gone is no missing object");
    let shown = format!("{gone} {gone:?} {:?} {:?}", gone.check().await, moto.options());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn what_did_not_change_costs_no_body() {
    let moto = filled_moto().await;
    let port = moto.url.rsplit(':').next().unwrap();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{port}")).await;
    let mut options = moto.options();
    options.endpoint = Some(format!("http://{}", proxy.address()));
    moto.put("stocks/prices/daily/BIG.json", &format!("\"{}\"", "x".repeat(1 << 20))).await;
    let object = document(&opened(&options).unwrap(), "daily/{symbol}.json", Selector::default());
    let (_, held) = answer(&object, "BIG").await.unwrap();
    proxy.set(Chaos::Truncate(4096));
    assert!(matches!(object.load(&symbol("BIG"), Some(&held)).await.unwrap(), Loaded::Unchanged));
    assert!(answer(&object, "BIG").await.is_err(), "a body cannot pass");
}

#[tokio::test]
async fn a_store_that_hangs_or_is_not_there_holds_no_load() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = BucketSpec::new("s3://stocks");
    options.timeout = Duration::from_millis(400);
    options.endpoint = Some(format!("http://{}", silent.local_addr().unwrap()));
    let object = |options: &BucketSpec| document(&opened(options).unwrap(), "{symbol}.json", Selector::default());
    let asked = Instant::now();
    assert_eq!(reason(&object(&options), "AAPL").await, Reason::TimedOut);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    drop(silent);
    options.timeout = Duration::from_secs(5);
    let asked = Instant::now();
    assert_eq!(reason(&object(&options), "AAPL").await, Reason::Unreachable);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(object(&options).check().await.unwrap_err().to_string().contains("cannot be reached"));
}

/// Answers one request with as much as it says that there is, and tells how much of it was taken.
async fn endless(listener: tokio::net::TcpListener) -> usize {
    let (mut connection, _) = listener.accept().await.unwrap();
    _ = connection.read(&mut [0; 4096]).await.unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\netag: \"1\"\r\n\
        last-modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut taken = 0;
    while let Ok(more) = connection.write(&[b' '; 64 << 10]).await {
        taken += more;
    }
    taken
}

#[tokio::test]
async fn of_an_object_that_says_it_is_too_large_no_room_is_made_and_no_body_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = BucketSpec::new("s3://stocks");
    options.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let served = tokio::spawn(endless(listener));
    let object = document(&opened(&options).unwrap(), "{symbol}.json", Selector::default());
    let why = answer(&object, "AAPL").await.unwrap_err();
    assert!(why.reason == Reason::Malformed && why.message.contains("raise `max_bytes`"), "{why}");
    // What the buffers of a connection hold is taken in any case.
    let taken = timeout(Duration::from_secs(20), served).await.expect("the connection ends").unwrap();
    assert!(taken < object.max_bytes / 2, "{taken}");
}

#[tokio::test]
async fn google_cloud_storage_is_a_bucket() {
    let gcs = Gcs::default();
    for name in ["AAPL.json", "MSFT.json", "readme.txt", "deeper/X.json"] {
        gcs.put(&format!("prices/daily/{name}"), STOCK);
    }
    let url = gcs.clone().serve().await;
    let mut options = BucketSpec::new("gs://stocks/prices");
    options.endpoint = Some(url);
    let bucket = opened(&options).unwrap();
    serves_stocks(&bucket, async |content| gcs.put("prices/daily/AAPL.json", content)).await;
    assert!(gcs.seen.lock().unwrap().drain(..).all(|headers| !headers.contains_key(header::AUTHORIZATION)));

    options.credentials = Credentials::ServiceAccount(service_account());
    let bucket = opened(&options).unwrap();
    let object = document(&bucket, "daily/{symbol}.json", Selector::default());
    assert_eq!(answer(&object, "MSFT").await.unwrap().0, STOCK);
    assert!(
        gcs.seen
            .lock()
            .unwrap()
            .iter()
            .all(|headers| headers[header::AUTHORIZATION].as_bytes().starts_with(b"Bearer ey"))
    );
    options.credentials = Credentials::ServiceAccountFile("/nowhere/at/all.json".into());
    assert!(opened(&options).unwrap_err().to_string().contains("service account"));
    options.credentials = Credentials::ServiceAccount("{\"private_key\": \"hunter2\"}".into());
    let why = opened(&options).unwrap_err().to_string();
    assert!(why.contains("service account") && !why.contains("hunter2"), "{why}");
}

#[test]
fn what_cannot_be_right_is_refused_when_it_is_declared() {
    for url in ["http://x/y", "s3:", "s3://", "s3://key:secret@bucket", "gs://", "file:/nowhere/at/all"] {
        assert!(opened(&BucketSpec::new(url)).is_err(), "{url}");
    }
    let bucket = opened(&BucketSpec::new("s3://bucket")).unwrap();
    let new = |key: &str, want: Want| new(&bucket, key, want);
    assert!(new("a/*.json", Want::Document(Selector::default())).is_err());
    for key in ["a/b.json", "*/b.json", "a/*-*.json"] {
        assert!(new(key, Want::Names).is_err(), "{key}");
    }
    let undeclared = new("a/{unknown}.json", Want::Document(Selector::default())).unwrap_err();
    assert!(lastgood::error_chain(&undeclared).contains("unknown"));
}
