// Has the page seen first: its modules are asked for, all at once, when the header has been painted. Reading and running them
// before that would take the time that the first frame needs.

const MODULES = ['/page/main.js', '/page/dom.js', '/page/api.js', '/page/charts.js', '/page/overview.js', '/page/keys.js', '/page/market.js', '/page/routes.js'];

requestAnimationFrame(() => setTimeout(() => MODULES.forEach((name) => import(name))));
