//! Why an answer does not fit its question.

use std::error::Error;
use std::fmt;
use std::str::Utf8Error;

/// Why an answer does not fit its question. Displayed, it is the end of a sentence about the answer.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum Unfit {
    /// It is of another content type than JSON.
    ContentType(String),
    /// It is no text.
    NotText(Utf8Error),
    /// It is no JSON, or was cut short.
    NotJson(serde_json::Error),
    /// It is JSON of another content.
    Content(serde_json::Error),
    /// It has candles that lie outside the times that were asked for.
    OtherCandles,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentType(content_type) => write!(f, "is {content_type:?}, not JSON"),
            Self::NotText(_) => f.write_str("is no UTF-8"),
            Self::NotJson(why) => write!(f, "is no whole JSON: {why}"),
            Self::Content(why) => write!(f, "is not of the content that was asked for: {why}"),
            Self::OtherCandles => f.write_str("has candles that were not asked for"),
        }
    }
}

impl Error for Unfit {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotText(why) => Some(why),
            // Displayed, it says what these say.
            Self::NotJson(why) | Self::Content(why) => why.source(),
            Self::ContentType(_) | Self::OtherCandles => None,
        }
    }
}

impl From<serde_json::Error> for Unfit {
    fn from(why: serde_json::Error) -> Self {
        match why.classify() {
            serde_json::error::Category::Data => Self::Content(why),
            _ => Self::NotJson(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use lastgood_testing::says_each_part_once;

    use super::*;

    #[test]
    fn each_says_each_part_once() {
        let json = |text: &str| serde_json::from_str::<u32>(text).unwrap_err();
        for error in [Unfit::from(json("{")), Unfit::from(json("\"text\"")), Unfit::OtherCandles] {
            says_each_part_once(&error);
        }
    }
}
