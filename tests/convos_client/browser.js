// As much of a browser as the client layer asks for: a window to tell of a new token, and cookies.
'use strict';

const axios = require('axios');

exports.events = [];
const nothing = () => null;
globalThis.window = {
  atob,
  location: { pathname: '/', search: '', hash: '', href: '' },
  localStorage: { getItem: nothing, setItem: nothing, removeItem: nothing },
  dispatchEvent: (event) => exports.events.push(event.type),
};

exports.cookies = new Map();
axios.interceptors.response.use((response) => {
  for (const line of response.headers['set-cookie'] ?? []) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const [name, value] = pair.split(/=(.*)/s);
    if (attributes.some((a) => /^max-age=0$/i.test(a))) exports.cookies.delete(name);
    else exports.cookies.set(name, value);
  }
  return response;
});
axios.interceptors.request.use((config) => {
  const sent = [...exports.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  if (sent) config.headers.set('Cookie', sent);
  return config;
});
