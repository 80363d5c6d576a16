//! The image: what its build is given, what its stages run, and how its health is checked, as far as that goes without an
//! engine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::eventually;

const LASTGOOD: &str = env!("CARGO_BIN_EXE_lastgood");
/// How long the gateway may take to stop: it drains for 10 s and closes the store within 5 s.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

async fn python(arguments: &[&str]) -> Output {
    let python = root().join("target/test-tools/venv/bin/python");
    Command::new(python).arg("-B").args(arguments).output().await.expect("tests/install-tools.sh has run")
}

fn succeeded(done: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
    out.into_owned()
}

/// The build context: the files that `.dockerignore` lets through, packed by Docker's own client and laid into a folder.
async fn context() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import sys, tarfile
from docker.api.build import process_dockerfile
from docker.utils.build import tar
root, folder = sys.argv[1:]
lines = [line.strip() for line in open(f'{root}/.dockerignore')]
packed = tar(root, [line for line in lines if line and not line.startswith('#')], process_dockerfile(None, root))
tarfile.open(fileobj=packed).extractall(folder, filter='data')
";
    let folder_name = folder.path().display().to_string();
    succeeded(&python(&["-c", script, &root().display().to_string(), &folder_name]).await);
    folder
}

/// The files in a folder and below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files that a source includes when it is compiled.
fn included(source: &Path) -> Vec<PathBuf> {
    let Some(text) = fs::read_to_string(source).ok().filter(|_| source.extension().is_some_and(|end| end == "rs"))
    else {
        return Vec::new();
    };
    let name =
        |rest: &str| rest.strip_prefix("(\"")?.split_once('"').map(|(name, _)| source.with_file_name("").join(name));
    ["include_str!", "include_bytes!"].iter().flat_map(|word| text.split(word).skip(1).filter_map(name)).collect()
}

/// The instructions of the Dockerfile, each with its arguments on one line.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let lines = lines.join("\n").replace("\\\n", " ");
    let instruction =
        |line: &str| line.trim().split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    lines.lines().filter_map(instruction).collect()
}

/// The arguments of the only instruction of this name.
fn instruction(name: &str) -> String {
    let mut found = instructions().into_iter().filter(|(known, _)| known == name).map(|(_, rest)| rest);
    let (Some(rest), None) = (found.next(), found.next()) else { panic!("one {name}") };
    rest
}

/// The words of an instruction in its exec form, which needs no shell.
fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|why| panic!("{json}: {why}"))
}

fn health_check() -> Vec<String> {
    words(instruction("HEALTHCHECK").split_once("CMD ").unwrap().1)
}

/// The variables of the image.
fn variables() -> Vec<(String, String)> {
    let set = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    instruction("ENV").split_whitespace().filter_map(set).collect()
}

#[tokio::test]
async fn the_build_context_holds_a_whole_workspace_and_everything_that_its_sources_include() {
    let context = context().await;
    // Of the dependencies only those of this platform are known to be there without a network.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(context.path())
        .stdin(Stdio::null())
        .output();
    let metadata: Value = serde_json::from_str(&succeeded(&metadata.await.unwrap())).unwrap();
    // What `cargo build --bin lastgood` builds without naming a package.
    let default = metadata["workspace_default_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let built = packages.iter().filter(|package| default.contains(&package["id"]));
    let targets: Vec<&Value> = built.flat_map(|package| package["targets"].as_array().unwrap()).collect();
    assert!(targets.iter().any(|target| target["name"] == "lastgood" && target["kind"][0] == "bin"), "{targets:?}");
    // Of each member every file, and every file that one of them includes.
    let (root, mut looked_at) = (root(), 0);
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let folder = folder.strip_prefix(context.path().canonicalize().unwrap()).unwrap();
        for file in files(&root.join(folder)) {
            let copied = context.path().join(file.strip_prefix(&root).unwrap());
            assert!(copied.is_file(), "not in the context: {}", file.display());
            looked_at += 1;
            for included in included(&copied) {
                assert!(
                    included.is_file(),
                    "{} includes {}, which is not in the context",
                    file.display(),
                    included.display()
                );
            }
        }
    }
    assert!(looked_at > 300, "{looked_at}");
    // A context is sent and hashed as a whole: unread files have no place in it.
    for needless in ["target", ".git", "examples/vibeapp", "tests", "README.md"] {
        assert!(!context.path().join(needless).exists(), "{needless}");
    }
}

#[tokio::test]
async fn what_the_stages_copy_is_there() {
    let (context, mut built) = (context().await, Vec::new());
    for (name, rest) in instructions() {
        if name == "RUN" {
            built.push(rest);
        } else if name == "COPY" {
            let (sources, _) = rest.rsplit_once(' ').unwrap();
            match sources.strip_prefix("--from=build ") {
                // The stage before ends with a copy to there.
                Some(source) => {
                    assert!(built.iter().any(|run| run.ends_with(&format!(" {source}"))), "{source}: {built:?}")
                }
                None => assert!(sources.split(' ').all(|source| context.path().join(source).exists()), "{sources}"),
            }
        }
    }
    let build = &built[0];
    assert!(build.contains("cargo build --release --locked --bin lastgood && cp target/release/lastgood "), "{build}");
    // The toolchain of the image is one that the workspace takes.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let wanted =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap().trim_end_matches('"');
    let image = &instructions()[0].1;
    assert!(image.starts_with(&format!("rust:{wanted}-slim-bookworm ")), "{image}");
}

#[test]
fn the_image_runs_the_program_itself_as_a_user_that_owns_its_data() {
    assert_eq!(
        (words(&instruction("ENTRYPOINT")), words(&instruction("CMD"))),
        (vec!["lastgood".to_owned()], vec!["serve".to_owned()])
    );
    let user: u32 = instruction("USER").parse().expect("a number, which Kubernetes can tell from root");
    assert_ne!(user, 0);
    let made = instructions().into_iter().filter(|(name, _)| name == "RUN").map(|(_, rest)| rest).nth(1).unwrap();
    assert!(
        made.contains(&format!("--uid {user} ")) && made.contains("install -d -o lastgood -g lastgood /data"),
        "{made}"
    );
    let data = variables().into_iter().find(|(name, _)| name == "LASTGOOD_DATA_DIR").unwrap().1;
    assert_eq!((data.as_str(), instruction("VOLUME").as_str()), ("/data", "/data"));
    // A volume that is declared before its folder has its owner would be root's.
    let all = instructions();
    let at = |wanted: &str| all.iter().position(|(name, rest)| name == wanted || rest.contains(wanted)).unwrap();
    assert!(at("install -d") < at("VOLUME"));
}

/// A gateway that was started as the image starts it, but for the ports and the folder.
async fn serve(data: &Path, changed: &[(&str, &str)]) -> Child {
    let mut command = Command::new(LASTGOOD);
    command.args(words(&instruction("CMD"))).env_clear().envs(variables()).env("LASTGOOD_DATA_DIR", data);
    command.env("LASTGOOD_ADMIN_TOKEN", "a-token-of-this-test").envs(changed.iter().copied());
    command.current_dir(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the program starts")
}

/// The exit code of the image's health check, where these variables are changed.
async fn health(data: &Path, changed: &[(&str, &str)]) -> Option<i32> {
    let check = health_check();
    assert_eq!(check[0], "lastgood");
    let mut command = Command::new(LASTGOOD);
    command.args(&check[1..]).env_clear().envs(variables()).envs(changed.iter().copied());
    command.current_dir(data).output().await.unwrap().status.code()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_health_check_finds_the_gateway_on_the_port_of_the_environment_or_of_the_file() {
    for by_file in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let listen = format!("0.0.0.0:{}", free_port());
        let file = data.path().join("etc-lastgood.toml");
        let changed = match by_file {
            true => {
                fs::write(&file, format!("listen = \"{listen}\"\n")).unwrap();
                vec![("LASTGOOD_LISTEN", ""), ("LASTGOOD_CONFIG", file.to_str().unwrap())]
            }
            false => vec![("LASTGOOD_LISTEN", listen.as_str())],
        };
        assert_eq!(health(data.path(), &changed).await, Some(1), "no server is there");
        let mut gateway = serve(data.path(), &changed).await;
        eventually("it is healthy", async || health(data.path(), &changed).await == Some(0)).await;
        // What an engine sends to stop it.
        let signal = Command::new("kill").args(["-TERM", &gateway.id().unwrap().to_string()]).status();
        assert!(signal.await.unwrap().success());
        let ended = tokio::time::timeout(STOPS_WITHIN, gateway.wait()).await.expect("it stops").unwrap();
        assert_eq!((ended.code(), health(data.path(), &changed).await), (Some(0), Some(1)));
    }
}

#[tokio::test]
async fn the_compose_file_is_one_by_the_compose_specification() {
    let compose = root().join("examples/vibeapp/compose.yaml");
    let check = async |file: &Path| {
        let file = file.display().to_string();
        python(&["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", &file]).await
    };
    succeeded(&check(&compose).await);
    // The check is one.
    let text = fs::read_to_string(&compose).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (right, wrong) in [
        ("depends_on:", "depend_on:"),
        ("interval: 10s", "interval: [10s]"),
        ("stop_grace_period: 30s", "stop_grace_period: [30s]"),
    ] {
        assert!(text.contains(right), "{right}");
        let file = folder.path().join("compose.yaml");
        fs::write(&file, text.replace(right, wrong)).unwrap();
        assert!(!check(&file).await.status.success(), "{wrong}");
    }
}
