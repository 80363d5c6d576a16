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
        user: None,
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
            assert!(error.hint().unwrap().contains("LASTGOOD_MASTER_KEY"));
        }
    }
    assert_eq!(desk.text(), before);
}

#[test]
fn rotation_encrypts_everything_again() {
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
        assert!(refused.hint().unwrap().contains("openssl rand -hex 32"));
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
    let later = whole.replace("\"version\": 1", "\"version\": 3");
    let cases = [
        (&whole[..whole.len() / 2], "damaged"),
        ("", "damaged"),
        ("{}", "damaged"),
        ("{\"format\": \"other\", \"version\": 1}", "damaged"),
        (later.as_str(), "version 3"),
    ];
    for (text, expected) in cases {
        std::fs::write(desk.store.path(), text).unwrap();
        let refused = desk.store.add(&master(MASTER), &credential("second")).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(refused.hint().is_some());
        assert_eq!(desk.text(), text);
    }
}

#[test]
fn a_process_killed_while_writing_harms_nothing() {
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
    assert_eq!(desk.store.remove("main", None).unwrap().name, "main");
    assert!(matches!(desk.store.remove("main", None), Err(CredentialError::Unknown(_))));
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

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn of_user(id: &str, name: &str) -> Credential {
    let mut credential = credential(name);
    credential.label.user = Some(user(id));
    credential
}

#[test]
fn a_file_of_the_first_version_is_read_and_stays_one_until_it_has_users() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.store.path().parent().unwrap()).unwrap();
    std::fs::write(desk.store.path(), include_str!("version-1.json")).unwrap();
    let held = desk.store.open(&master(MASTER)).unwrap();
    assert_eq!((held[0].label.name.as_str(), held[0].api_key.expose_secret()), ("main", API_KEY));
    assert_eq!(held[0].label.user, None);
    desk.store.add(&master(MASTER), &credential("second")).unwrap();
    assert!(desk.text().contains("\"version\": 1") && !desk.text().contains("\"user\""));
    desk.store.add(&master(MASTER), &of_user("alice", "main")).unwrap();
    assert!(desk.text().contains("\"version\": 2"));
    assert_eq!(desk.names(MASTER), ["main", "second", "main"]);
    desk.store.remove("main", Some(&user("alice"))).unwrap();
    assert!(desk.text().contains("\"version\": 1"));
}

#[test]
fn each_user_has_names_and_records_of_their_own() {
    let desk = Desk::with_one();
    for id in ["alice", "bob"] {
        desk.store.add(&master(MASTER), &of_user(id, "main")).unwrap();
    }
    let taken = desk.store.add(&master(MASTER), &of_user("bob", "main")).unwrap_err();
    assert!(matches!(taken, CredentialError::Taken(_)));
    let records = desk.store.records(&master(MASTER)).unwrap();
    assert_eq!(records.count(), 3);
    let users = |id: Option<&UserId>| records.open_of(id).unwrap().into_iter().map(|one| one.label.user);
    assert_eq!(users(Some(&user("alice"))).collect::<Vec<_>>(), [Some(user("alice"))]);
    assert_eq!(users(None).collect::<Vec<_>>(), [None]);
    assert_eq!(users(Some(&user("unknown"))).count(), 0);
    desk.store.remove("main", Some(&user("alice"))).unwrap();
    assert!(matches!(desk.store.remove("main", Some(&user("alice"))), Err(CredentialError::Unknown(_))));
    assert_eq!(desk.store.rotate(&master(MASTER), &master(OTHER)).unwrap(), 2);
    assert_eq!(desk.store.open(&master(OTHER)).unwrap()[1].label.user, Some(user("bob")));
}

#[test]
fn a_record_given_to_another_user_opens_for_no_user_and_harms_no_other() {
    let desk = Desk::with_one();
    for id in ["alice", "bob"] {
        desk.store.add(&master(MASTER), &of_user(id, "main")).unwrap();
    }
    for stolen in ["mallory".into(), serde_json::Value::Null] {
        desk.edit(|file| file["records"][1]["user"] = stolen.clone());
        let records = desk.store.records(&master(MASTER)).unwrap();
        let thief = stolen.as_str().map(user);
        assert!(matches!(records.open_of(thief.as_ref()), Err(CredentialError::Damaged(_))), "{stolen}");
        assert_eq!(records.open_of(Some(&user("bob"))).unwrap().len(), 1);
    }
}

#[test]
fn a_sealed_secret_opens_for_its_user_and_master_key_alone() {
    let desk = Desk::new();
    let secret = SecretString::from(SECRET);
    let text = desk.store.seal(&master(MASTER), &user("alice"), &secret).unwrap();
    assert!(!text.contains(&SECRET[..8]) && !desk.store.exists(), "{text}");
    let open = |key: &str, id: &str, text: &str| {
        open_sealed(&master(key), &user(id), text).map(|secret| secret.expose_secret().to_owned())
    };
    assert_eq!(open(MASTER, "alice", &format!(" {text}\n")).unwrap(), SECRET);
    for (key, id) in [(MASTER, "bob"), (MASTER, "alice2"), (OTHER, "alice"), ("a passphrase, long enough", "alice")] {
        assert!(matches!(open(key, id, &text), Err(CredentialError::NotOpened)), "{key} {id}");
    }
    for wrong in ["", "x", SECRET, "lastgood-sealed-1:hkdf-sha256:::", &text[..text.len() - 1], &format!("{text}:x")] {
        assert!(open(MASTER, "alice", wrong).is_err(), "{wrong}");
    }
    let (head, last) = text.split_at(text.len() - 1);
    let changed = format!("{head}{}", if last == "A" { "Q" } else { "A" });
    assert!(open(MASTER, "alice", &changed).is_err());
    assert_ne!(desk.store.seal(&master(MASTER), &user("alice"), &secret).unwrap(), text, "a salt of its own");
}

#[test]
fn texts_sealed_under_a_passphrase_share_the_salt_of_the_file() {
    const PASSPHRASE: &str = "a passphrase, long enough";
    let (desk, key) = (Desk::new(), master(PASSPHRASE));
    let seal = |id: &str| desk.store.seal(&key, &user(id), &SecretString::from(SECRET)).unwrap();
    let (alices, bobs) = (seal("alice"), seal("bob"));
    let salt = |text: &str| text.split(':').take(3).collect::<Vec<_>>().join(":");
    assert_eq!(salt(&alices), salt(&bobs));
    assert!(alices.starts_with("lastgood-sealed-1:pbkdf2-hmac-sha256.600000:"), "{alices}");
    assert_eq!(open_sealed(&key, &user("bob"), &bobs).unwrap().expose_secret(), SECRET);
    let cheap = bobs.replace("600000", "1");
    assert!(matches!(open_sealed(&key, &user("bob"), &cheap), Err(CredentialError::NotSealed)));
    let other = desk.store.seal(&master("another passphrase of ours"), &user("bob"), &SecretString::from(SECRET));
    assert!(matches!(other, Err(CredentialError::WrongMasterKey)));
}

#[test]
fn a_user_id_fits_a_header_and_a_log_line() {
    for good in ["1", "auth0|5f7c8ec7", "a.b+c@example.org", "urn:user:1/2=", &"x".repeat(128)] {
        assert_eq!(UserId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", " ", "a b", "a\nb", "a\u{7f}", "ü", "a\"b", "a,b", "*", &"x".repeat(129)] {
        assert!(matches!(UserId::parse(bad), Err(CredentialError::Unsound(_))), "{bad:?}");
    }
}
