//! Batches and fills of several processes.

use super::*;

#[tokio::test(start_paused = true)]
async fn batches_of_several_processes_share_their_loads_and_never_wait_for_each_other() {
    let nodes = Nodes::new();
    let all = nodes.start_many(3).await;
    let calls = Arc::new(Semaphore::new(0));
    let names: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    let mut readers = JoinSet::new();
    for (number, node) in all.iter().enumerate() {
        let (prices, calls, mut names) = (node.prices.clone(), Arc::clone(&calls), names.clone());
        names.rotate_left(number * 7);
        readers.spawn(async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let load = |missing: Vec<String>| async move {
                calls.add_permits(1);
                tokio::time::sleep(SECOND).await;
                Ok(missing.into_iter().map(|name| (name.clone(), Ok(loaded(&name)))).collect())
            };
            let answers = prices.get_or_load_many(&names, load).await;
            names.iter().zip(answers).all(|(name, answer)| answer.is_ok_and(|answer| text(&answer) == **name))
        });
    }
    let began = tokio::time::Instant::now();
    assert_eq!(readers.join_all().await, [true; 3]);
    assert_eq!(calls.available_permits(), 1, "one call of the loader for all");
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn fills_of_several_processes_take_turns_and_find_what_the_one_before_has_brought() {
    let nodes = Nodes::new();
    let all = nodes.start_many(3).await;
    let calls = Arc::new(Semaphore::new(0));
    let mut fillers = JoinSet::new();
    for node in &all {
        let (prices, calls) = (node.prices.clone(), Arc::clone(&calls));
        fillers.spawn(async move {
            let inner = prices.clone();
            let load = move || async move {
                if !matches!(inner.stored(&["block".to_owned()]).await[..], [Ok(Some(_))]) {
                    calls.add_permits(1);
                    tokio::time::sleep(SECOND).await;
                }
                Ok(Filled::from(vec![("block".to_owned(), loaded("candles"))]))
            };
            prices.composite().fill("@fill", load).await.is_ok()
        });
    }
    assert_eq!(fillers.join_all().await, [true; 3]);
    assert_eq!(calls.available_permits(), 1);
}
