//! What a client may ask of a declared route over an API, a database and a folder: the first byte chooses the route, and
//! the others follow on the fixed part of its path.

use std::path::PathBuf;
use std::sync::LazyLock;

use lastgood_gateway::testing::HeldRoutes;

static ROUTES: LazyLock<HeldRoutes> = LazyLock::new(|| HeldRoutes::new(&folder()));

/// Where the database and the files of this process are.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("lastgood-routes-{}", std::process::id()))
}

pub(crate) fn run(data: &[u8]) {
    ROUTES.hold(data);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let targets = [
        // Of the API: what may leave its segment when it is decoded.
        "\0BTC/2025-01-31?note=a%26b%3Dc&side=loss",
        "\0BRK.B%40x%3A1/2024-02-29",
        "\x00100%25/2000-01-01?note=%2Fetc%2Fpasswd%3Fx%23y",
        "\0..%2F..%2Fsecret/2025-01-31",
        "\0%252e%252e%252fsecret/2025-01-31",
        "\0%25252525252fsecret/2025-01-31",
        "\0a%5Cb/2025-01-31",
        "\0%EF%BC%8Fb/2025-01-31",
        "\0%25c0%25afb/2025-01-31",
        "\0%EF%BF%BD%25c0%25af/2025-01-31",
        "\0a%3Bb%3Fc%23d/2025-01-31",
        "\0a..b/2025-01-31",
        // Of the database: bounds, forms, and what would be SQL if it became part of the statement.
        "\u{1}brk.b?whole=365&any=-9223372036854775808&price=100.0&flag=0&side=LOSS&code=a.b",
        "\u{1}x%27%3B--?code=%E5%B8%81%27%20OR%20%271",
        "\u{1}%3Aword?whole=-5&price=0.0000000000000000000000000001",
        "\u{1}%24%24?whole=00000007&any=-0&price=-0.00",
        "\u{1}%C5%89%C3%9F?whole=366&whole=1",
        "\u{1}a%00b?unknown=1&=2&&x",
        "\u{1}a+b?code=a+b&code=%FF&price=79228162514264337593543950335",
        // Of the folder.
        "\u{2}BTC",
        "\u{2}a%20b?",
        "\u{2}50%25",
        "\u{2}x%3By",
        "\u{2}..%2Fsecret",
        "\u{2}deeper%2FBTC",
        "\u{2}%2e%2e%5c%2e%2e%5coutside",
        "\u{2}*",
        "\u{2}",
    ];
    targets.iter().map(|target| target.as_bytes().to_vec()).collect()
}
