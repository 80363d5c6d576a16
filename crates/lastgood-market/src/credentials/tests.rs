use std::os::unix::fs::PermissionsExt as _;

use super::*;

const API_KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const MASTER: &str = "8f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const OTHER: &str = "0f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";

fn master(text: &str) -> MasterKey {
    MasterKey::parse(&SecretString::from(text)).unwrap()
}

fn credential(name: &str) -> Credential {
    let label = Label {
        name: name.to_owned(),
        venue: Venue::Spot,
        environment: Environment::Testnet,
        algorithm: Algorithm::HmacSha256,
        added_at: Timestamp::from_millis(1_499_827_319_559),
    };
    Credential { label, api_key: SecretString::from(API_KEY), secret: SecretString::from(SECRET) }
}

struct Desk {
    directory: tempfile::TempDir,
    store: CredentialStore,
}

impl Desk {
    fn new() -> Desk {
        let directory = tempfile::tempdir().unwrap();
        let store = CredentialStore::in_directory(&directory.path().join("data"));
        Desk { directory, store }
    }

    /// With one credential, `main`, under [`MASTER`].
    fn with_one() -> Desk {
        let desk = Desk::new();
        desk.store.add(&master(MASTER), &credential("main")).unwrap();
        desk
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.store.path()).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut written = serde_json::from_str(&self.text()).unwrap();
        change(&mut written);
        std::fs::write(self.store.path(), written.to_string()).unwrap();
    }

    fn names(&self, key: &str) -> Vec<String> {
        let open = self.store.open(&master(key)).unwrap();
        open.into_iter().map(|credential| credential.label.name).collect()
    }
}

#[test]
fn what_was_added_is_there_and_its_secrets_are_not_in_the_file() {
    let desk = Desk::with_one();
    let found = desk.store.open(&master(MASTER)).unwrap();
    assert_eq!(found[0].label, credential("main").label);
    assert_eq!((found[0].api_key.expose_secret(), found[0].secret.expose_secret()), (API_KEY, SECRET));
    assert_eq!(found[0].api_key_begins(), "vmPU");
    let text = desk.text();
    assert!(!text.contains(API_KEY) && !text.contains(SECRET) && !text.contains(MASTER), "{text}");
    assert!(!text.contains("vmPU"), "{text}");
    let shown = format!("{found:?} {:?} {:?}", master(MASTER), desk.store);
    assert!(!shown.contains(API_KEY) && !shown.contains(SECRET) && !shown.contains(MASTER), "{shown}");
}

#[test]
fn only_its_owner_may_read_the_file() {
    let desk = Desk::with_one();
    desk.store.add(&master(MASTER), &credential("second")).unwrap();
    for entry in std::fs::read_dir(desk.directory.path().join("data")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn each_record_has_a_nonce_of_its_own() {
    let desk = Desk::with_one();
    desk.store.add(&master(MASTER), &credential("twin")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&desk.text()).unwrap();
    assert_ne!(written["records"][0]["nonce"], written["records"][1]["nonce"]);
    assert_ne!(written["records"][0]["sealed"], written["records"][1]["sealed"]);
}

#[test]
fn another_master_key_opens_nothing_and_changes_nothing() {
    let desk = Desk::with_one();
    let before = desk.text();
    for wrong in [OTHER, "a passphrase in place of a key"] {
        let wrong = master(wrong);
        let errors = [
            desk.store.open(&wrong).map(drop).unwrap_err(),
            desk.store.add(&wrong, &credential("second")).unwrap_err(),
            desk.store.rotate(&wrong, &master(MASTER)).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, CredentialError::WrongMasterKey), "{error}");
            assert!(error.mend().unwrap().contains("LASTGOOD_MASTER_KEY"));
        }
    }
    assert_eq!(desk.text(), before);
}

#[test]
fn rotation_encrypts_everything_anew() {
    let desk = Desk::with_one();
    desk.store.add(&master(MASTER), &credential("second")).unwrap();
    let before: serde_json::Value = serde_json::from_str(&desk.text()).unwrap();
    assert_eq!(desk.store.rotate(&master(MASTER), &master(OTHER)).unwrap(), 2);
    assert!(matches!(desk.store.open(&master(MASTER)), Err(CredentialError::WrongMasterKey)));
    assert_eq!(desk.names(OTHER), ["main", "second"]);
    let after: serde_json::Value = serde_json::from_str(&desk.text()).unwrap();
    assert_ne!(before["key"]["salt"], after["key"]["salt"]);
    assert_ne!(before["records"][0]["sealed"], after["records"][0]["sealed"]);
    assert!(matches!(Desk::new().store.rotate(&master(MASTER), &master(OTHER)), Err(CredentialError::Empty)));
}

#[test]
fn a_passphrase_is_stretched_with_a_salt_and_kept_count() {
    let desk = Desk::new();
    let (passphrase, secret) = (master("correct horse battery staple"), credential("main"));
    desk.store.add(&passphrase, &secret).unwrap();
    assert_eq!(desk.store.open(&passphrase).unwrap().len(), 1);
    let written: serde_json::Value = serde_json::from_str(&desk.text()).unwrap();
    assert_eq!(written["key"]["by"], "pbkdf2-hmac-sha256");
    assert!(written["key"]["iterations"].as_u64().unwrap() >= 600_000);
    assert!(matches!(desk.store.open(&master("correct horse battery stapler")), Err(CredentialError::WrongMasterKey)));
    desk.edit(|written| written["key"]["iterations"] = 1.into());
    assert!(matches!(desk.store.open(&passphrase), Err(CredentialError::Damaged(_))));
}

#[test]
fn a_master_key_is_32_bytes_or_a_passphrase() {
    let desk = Desk::with_one();
    // The same 32 bytes, written differently.
    for same in [MASTER.to_uppercase().as_str(), "jyt9HG5aSTgnFgX049LBsKmYh3ZlVEMyIRAP/u3cy7o="] {
        assert_eq!(desk.names(same), ["main"], "{same}");
    }
    assert_eq!(desk.names("jyt9HG5aSTgnFgX049LBsKmYh3ZlVEMyIRAP_u3cy7o"), ["main"]);
    for short in ["", "fifteen letters", "ffff"] {
        let refused = MasterKey::parse(&SecretString::from(short)).unwrap_err();
        assert!(matches!(refused, CredentialError::BadMasterKey));
        assert!(refused.mend().unwrap().contains("openssl rand -hex 32"));
    }
}

#[test]
fn a_record_cannot_pass_for_another() {
    for field in ["name", "venue", "environment", "algorithm", "added_at"] {
        let desk = Desk::with_one();
        desk.edit(|written| {
            let record = &mut written["records"][0];
            record[field] = match field {
                "name" => "other".into(),
                "venue" => "futures".into(),
                "environment" => "mainnet".into(),
                "algorithm" => "ed25519".into(),
                _ => 1.into(),
            };
        });
        let refused = desk.store.open(&master(MASTER)).map(drop).unwrap_err();
        assert!(matches!(refused, CredentialError::Damaged(_)), "{field}: {refused}");
    }
}

#[test]
fn a_damaged_file_says_so_and_is_left_alone() {
    let desk = Desk::with_one();
    let whole = desk.text();
    let later = whole.replace("\"version\": 1", "\"version\": 2");
    let cases = [
        (&whole[..whole.len() / 2], "damaged"),
        ("", "damaged"),
        ("{}", "damaged"),
        ("{\"format\": \"other\", \"version\": 1}", "damaged"),
        (later.as_str(), "version 2"),
    ];
    for (text, expected) in cases {
        std::fs::write(desk.store.path(), text).unwrap();
        let refused = desk.store.add(&master(MASTER), &credential("second")).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(refused.mend().is_some());
        assert_eq!(desk.text(), text);
    }
}

#[test]
fn whoever_was_killed_while_writing_harmed_nothing() {
    let desk = Desk::with_one();
    let leftover = desk.directory.path().join("data/credentials.new");
    std::fs::write(&leftover, "{\"format\": \"lastgood-cre").unwrap();
    std::fs::set_permissions(&leftover, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(desk.names(MASTER), ["main"]);
    desk.store.add(&master(MASTER), &credential("second")).unwrap();
    assert_eq!(desk.names(MASTER), ["main", "second"]);
    assert!(!leftover.exists());
    let mode = std::fs::metadata(desk.store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let desk = Desk::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &desk.store;
            scope.spawn(move || store.add(&master(MASTER), &credential(&format!("n{number}"))).unwrap());
        }
    });
    let mut names = desk.names(MASTER);
    names.sort_unstable();
    assert_eq!(names, (0..8).map(|number| format!("n{number}")).collect::<Vec<_>>());
}

#[test]
fn names_are_taken_once_and_removed_once() {
    let desk = Desk::with_one();
    let taken = desk.store.add(&master(MASTER), &credential("main")).unwrap_err();
    assert!(matches!(taken, CredentialError::Taken(name) if name == "main"));
    assert_eq!(desk.store.remove("main").unwrap().name, "main");
    assert!(matches!(desk.store.remove("main"), Err(CredentialError::Unknown(_))));
    assert!(desk.names(MASTER).is_empty());
}

#[test]
fn what_cannot_be_used_is_refused() {
    let desk = Desk::new();
    let with = |change: fn(&mut Credential)| {
        let mut changed = credential("main");
        change(&mut changed);
        changed
    };
    for unsound in [
        with(|one| one.label.name = "two words".to_owned()),
        with(|one| one.label.name = String::new()),
        with(|one| one.api_key = SecretString::from("")),
        with(|one| one.api_key = SecretString::from("line\r\nbreak")),
        with(|one| one.secret = SecretString::from("")),
        with(|one| one.label.algorithm = Algorithm::Ed25519),
    ] {
        let refused = desk.store.add(&master(MASTER), &unsound).unwrap_err();
        assert!(matches!(refused, CredentialError::Unsound(_)), "{refused}");
        assert!(!refused.to_string().contains(SECRET));
    }
    assert!(!desk.store.exists());
}
