(() => {
  // A page that is served while a run goes on: asks whether it has changed, and comes again if it has.
  // What was opened and sorted is opened and sorted again; whoever types is not disturbed.
  const KEY = `zoo ${location.pathname}`;
  const sorted = () =>
    [...document.querySelectorAll("table.data")].flatMap((table, i) =>
      [...table.tHead.rows[0].cells].flatMap((cell, j) => {
        const way = cell.getAttribute("aria-sort");
        return way ? [[i, j, way]] : [];
      }),
    );
  const details = () => [...document.querySelectorAll("details")];
  const keep = () => {
    const open = details().flatMap((one, i) => (one.open ? [i] : []));
    sessionStorage.setItem(KEY, JSON.stringify({ open, sorted: sorted() }));
  };
  const restore = () => {
    const { open, sorted } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    sessionStorage.removeItem(KEY);
    const all = details();
    for (const i of open ?? []) if (all[i]) all[i].open = true;
    const tables = document.querySelectorAll("table.data");
    for (const [i, j, way] of sorted ?? []) {
      const heading = tables[i]?.tHead.rows[0].cells[j];
      for (let n = 0; n < 2 && heading && heading.getAttribute("aria-sort") !== way; n += 1) {
        heading.querySelector("button")?.click();
      }
    }
  };
  const mark = document.getElementById("live");
  const busy = () => document.activeElement?.matches("main input, main select");
  let known = "";
  const ask = async () => {
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      const now = answer.headers.get("ETag") ?? "";
      mark.textContent = answer.ok ? "live" : "page is gone";
      known ||= now;
      if (answer.ok && now !== known && !busy()) {
        keep();
        location.reload();
        return;
      }
    } catch {
      mark.textContent = "server has stopped";
    }
    setTimeout(ask, document.hidden ? 10000 : 2000);
  };
  restore();
  ask();
})();
