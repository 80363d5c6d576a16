//! One answer may be wrong by its own word. Those after it are then right.

use super::*;

/// Whether it is the one wrong answer that is given, at each whole half minute for this many, while the exchange says
/// `truth`.
async fn is_wrong_over_time(bench: &Bench, line: &Line, truth: &str, half_minutes: usize) -> Vec<bool> {
    let mut wrong = Vec::new();
    for _ in 0..half_minutes {
        advance(30 * SECOND).await;
        bench.exchange.answers.lock().unwrap().clear();
        (0..3).for_each(|_| bench.says(truth));
        wrong.push(bench.ask(line).await.unwrap().0.contains("666"));
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn one_answer_with_a_later_time_of_its_own_is_believed_for_two_minutes_over_what_the_exchange_says() {
    let now = Clock::paused_with_tokio().now().as_millis();
    let hour_ago = now - 3_600_000;
    let price = |value: &str, at: u64| format!(r#"{{"symbol":"A","price":"{value}","time":{at}}}"#);
    let row = |value: &str, at: u64| format!(r#"[{{"symbol":"A","fundingRate":"{value}","fundingTime":{at}}}]"#);
    let truths: [(&str, String, String); 4] = [
        ("/fapi/v1/openInterest?symbol=A", price("666", now), price("1", hour_ago)),
        ("/fapi/v1/ticker/price", format!("[{}]", price("666", now)), format!("[{}]", price("1", hour_ago))),
        ("/fapi/v1/fundingRate?symbol=A", row("666", now), row("1", hour_ago)),
        ("/fapi/v1/fundingRate?symbol=A", row("666", now), "[]".to_owned()),
    ];
    for (target, lie, truth) in truths {
        let (bench, line) = (Bench::new(), line(target));
        bench.says(&lie);
        assert_eq!(bench.ask(&line).await, Ok((lie, Outcome::Miss)));
        let wrong = is_wrong_over_time(&bench, &line, &truth, 12).await;
        assert_eq!(wrong, [[true; 4].as_slice(), &[false; 8]].concat(), "{target}: {truth}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_list_with_a_later_time_of_its_own_is_believed_for_two_minutes_over_single_answers() {
    let now = Clock::paused_with_tokio().now().as_millis();
    let price = |value: &str, at: u64| format!(r#"{{"symbol":"A","price":"{value}","time":{at}}}"#);
    let bench = Bench::new();
    let (one, all) = (line("/fapi/v1/ticker/price?symbol=A"), line("/fapi/v1/ticker/price"));
    bench.says(&format!("[{}]", price("666", now)));
    bench.ask(&all).await.unwrap();
    let mut wrong = Vec::new();
    for _ in 0..6 {
        advance(30 * SECOND).await;
        bench.exchange.answers.lock().unwrap().clear();
        bench.fails(Reason::Malformed);
        (0..2).for_each(|_| bench.says(&price("1", now - 3_600_000)));
        wrong.push(bench.ask(&one).await.unwrap().0.contains("666"));
    }
    assert_eq!(wrong, [true, true, true, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_row_too_many_in_one_answer_about_the_past_is_fresh_for_two_minutes_and_believed_for_two_more() {
    let day = 86_400_000;
    let began = Clock::paused_with_tokio().now().as_millis() - 5 * day;
    let row = |value: &str, n: u64| {
        format!(r#"{{"symbol":"A","fundingRate":"{value}","fundingTime":{}}}"#, began + n * day / 3)
    };
    let line = line(&format!("/fapi/v1/fundingRate?symbol=A&startTime={began}&endTime={}", began + 2 * day));
    let truth = format!("[{},{}]", row("1", 0), row("2", 1));
    for truth in [truth.clone(), "[]".to_owned()] {
        let bench = Bench::new();
        bench.says(&format!("[{},{},{}]", row("1", 0), row("2", 1), row("666", 2)));
        bench.ask(&line).await.unwrap();
        let wrong = is_wrong_over_time(&bench, &line, &truth, 12).await;
        assert_eq!(wrong, [[true; 7].as_slice(), &[false; 5]].concat(), "{truth}");
    }
    // What was said again is believed for longer: rows that then fail to come are no sooner gone.
    let bench = Bench::new();
    bench.says(&truth);
    bench.ask(&line).await.unwrap();
    for _ in 0..2 {
        advance(600 * SECOND).await;
        bench.exchange.answers.lock().unwrap().clear();
        bench.says(&truth);
        bench.ask(&line).await.unwrap();
    }
    let mut lost = 0;
    while bench.ask(&line).await.unwrap().0 == truth {
        advance(30 * SECOND).await;
        bench.exchange.answers.lock().unwrap().clear();
        (0..3).for_each(|_| bench.says(&format!("[{}]", row("1", 0))));
        lost += 1;
    }
    assert!((12..200).contains(&lost), "{lost} half minutes");
}
