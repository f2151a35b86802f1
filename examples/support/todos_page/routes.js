// Where the service answers what.

export const routes = {
  todos: "/todos",
  todo: (id) => `/todos/${id}`,
  signUp: "/signup",
  verify: "/verify",
  login: "/login",
  refresh: "/refresh",
  logout: "/logout",
  logoutEverywhere: "/logout_everywhere",
  events: "/events",
  mails: "/mails",
};
