// Calls a server through librechat-data-provider, one case after the other, and prints what came of each as a JSON line.
// usage: node calls.js URL EMAIL PASSWORD
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const axios = require('axios');
const { cookies, events } = require('./browser.js');
const { ForkOptions, dataService, request, setTokenHeader, tConversationSchema, tMessageSchema } = require(
  'librechat-data-provider',
);

const [url, email, password] = process.argv.slice(2);
axios.defaults.baseURL = url;

const ROOT = '00000000-0000-0000-0000-000000000000';
const MISSING = '11111111-1111-4111-8111-111111111111';
const cases = [];
const test = (name, run) => cases.push([name, run]);

/** The error that a call ends with: its status and its body. */
async function refused(call) {
  try {
    await call;
  } catch (error) {
    if (!error.response) throw error;
    return { status: error.response.status, data: error.response.data };
  }
  throw new Error('it was not refused');
}

const isConversation = (found) => (tConversationSchema.parse(found), found);
const isMessage = (found) => (tMessageSchema.parse(found), found);

async function say(conversationId, text, more = {}) {
  const body = { text, isCreatedByUser: true, sender: 'User', ...more };
  return isMessage(await request.post(`/api/messages/${conversationId}`, body));
}

/** A question with two answers, and a question after the first one. */
async function tree(title) {
  const question = await say('new', title);
  const id = question.conversationId;
  const answer = { isCreatedByUser: false, parentMessageId: question.messageId, sender: 'GPT-4o', model: 'gpt-4o' };
  const first = await say(id, 'first answer', answer);
  const second = await say(id, 'second answer', answer);
  const next = await say(id, 'and then?', { parentMessageId: first.messageId });
  return { id, question, first, second, next };
}

const texts = (messages) => messages.map((m) => m.text).sort();

// ---- logins ----

test('login_unknown', async () => {
  const { status, data } = await refused(dataService.login({ email: 'nobody@example.org', password: 'wrong-one' }));
  assert.deepEqual([status, data], [404, { message: 'Email does not exist.' }]);
});
test('login_wrong', async () => {
  const { status, data } = await refused(dataService.login({ email, password: 'wrong-one' }));
  assert.deepEqual([status, data], [404, { message: 'Incorrect password.' }]);
});
test('refresh_without_cookie', async () => {
  assert.equal(await request.refreshToken(), 'Refresh token not provided');
});
test('no_token', async () => {
  const { status, data } = await refused(dataService.listConversations());
  assert.deepEqual([status, data], [401, { message: 'No auth token' }]);
});
test('login', async () => {
  const { token, user } = await dataService.login({ email, password });
  assert.equal(user.email, email);
  assert.equal(user.id, user._id);
  assert.equal(user.provider, 'local');
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  assert.equal(claims.id, user.id);
  assert.ok(claims.exp * 1000 > Date.now());
  assert.equal(cookies.get('token_provider'), 'librechat');
  setTokenHeader(token);
});
test('user', async () => {
  const user = await dataService.getUser();
  assert.equal(user.email, email);
});
test('refresh_after_401', async () => {
  setTokenHeader('not.a.token');
  assert.ok(Array.isArray((await dataService.listConversations()).conversations));
  assert.ok(events.includes('tokenUpdated'));
});
test('config', async () => {
  const config = await dataService.getStartupConfig();
  assert.equal(config.emailLoginEnabled, true);
  assert.equal(config.sharedLinksEnabled, true);
});
test('search_enabled', async () => {
  assert.equal(await dataService.getSearchEnabled(), true);
});

// ---- conversations ----

test('list', async () => {
  const titles = ['list one', 'list two', 'list three'];
  for (const title of titles) await say('new', title);
  const found = [];
  for (let cursor; cursor !== null; ) {
    const page = await dataService.listConversations({ limit: 2, cursor, sortBy: 'title', sortDirection: 'asc' });
    assert.ok(page.conversations.length <= 2);
    found.push(...page.conversations);
    cursor = page.nextCursor;
  }
  const seen = found.map((c) => c.title).filter((t) => titles.includes(t));
  assert.deepEqual(seen, [...titles].sort());
  for (const c of found) {
    isConversation(c);
    assert.equal(c.isShared, false);
    assert.equal(c.isArchived, false);
    assert.match(c._id, /^[0-9a-f]{24}$/);
    assert.ok(!('tags' in c));
  }
});
test('list_refuses', async () => {
  const { status, data } = await refused(dataService.listConversations({ sortBy: 'colour' }));
  assert.equal(status, 400);
  assert.match(data.error, /^sortBy must be one of /);
  assert.equal((await refused(dataService.listConversations({ cursor: 'nonsense' }))).status, 400);
});
test('search', async () => {
  const { id } = await tree('a walk');
  await say(id, 'the word is quagmire, and nothing else');
  const page = await dataService.listConversations({ search: 'quagmire' });
  assert.deepEqual(page.conversations.map((c) => c.conversationId), [id]);
  const { messages } = await dataService.listMessages({ search: 'quagmire' });
  assert.deepEqual(messages.map((m) => [m.conversationId, m.title]), [[id, 'a walk']]);
  await dataService.deleteConversation({ conversationId: id });
  assert.deepEqual((await dataService.listConversations({ search: 'quagmire' })).conversations, []);
});
test('get', async () => {
  const made = await tree('to be read');
  const found = isConversation(await dataService.getConversationById(made.id));
  assert.equal(found.title, 'to be read');
  assert.equal(found.model, 'gpt-4o');
  assert.equal(found.__v, 0);
  assert.equal(found.messages.length, 4);
  assert.deepEqual(found.tags, []);
  const { status, data } = await refused(dataService.getConversationById(MISSING));
  assert.deepEqual([status, data], [404, '']);
});
test('update', async () => {
  const { conversationId } = await say('new', 'before');
  const found = await dataService.updateConversation({ conversationId, title: '  after  ' });
  assert.equal(isConversation(found).title, 'after');
  assert.equal((await dataService.listConversations()).conversations[0].conversationId, conversationId);
  const unknown = await refused(dataService.updateConversation({ conversationId: MISSING, title: 'x' }));
  assert.deepEqual(unknown, { status: 404, data: { error: 'Conversation not found' } });
});
test('archive', async () => {
  const { conversationId } = await say('new', 'out of the way');
  const put = await dataService.archiveConversation({ conversationId, isArchived: true });
  assert.ok(isConversation(put).archivedAt);
  const ids = async (isArchived) =>
    (await dataService.listConversations({ isArchived, limit: 100 })).conversations.map((c) => c.conversationId);
  assert.ok((await ids(true)).includes(conversationId));
  assert.ok(!(await ids(false)).includes(conversationId));
  const back = await dataService.archiveConversation({ conversationId, isArchived: false });
  assert.equal(back.isArchived, false);
  assert.equal(back.updatedAt, put.updatedAt);
});
test('pin', async () => {
  const { conversationId } = await say('new', 'pinned');
  assert.equal((await dataService.pinConversation({ conversationId, pinned: true })).pinned, true);
  const { conversations } = await dataService.listConversations({ pinned: true });
  assert.deepEqual(conversations.map((c) => c.conversationId), [conversationId]);
  assert.equal((await dataService.pinConversation({ conversationId, pinned: false })).pinned, false);
});
test('gen_title', async () => {
  const { conversationId } = await say('new', 'What is it called?');
  assert.deepEqual(await dataService.genTitle({ conversationId }), { title: 'What is it called?' });
  assert.equal((await refused(dataService.genTitle({ conversationId: MISSING }))).status, 404);
});
test('fork', async () => {
  const made = await tree('to be forked');
  const fork = async (option) => {
    const copy = await dataService.forkConversation({
      conversationId: made.id,
      messageId: made.next.messageId,
      option,
    });
    isConversation(copy.conversation);
    assert.notEqual(copy.conversation.conversationId, made.id);
    copy.messages.forEach(isMessage);
    assert.ok(copy.messages.every((m) => m.conversationId === copy.conversation.conversationId));
    assert.equal(copy.messages.filter((m) => m.parentMessageId === ROOT).length, 1);
    return texts(copy.messages);
  };
  const path = ['and then?', 'first answer', 'to be forked'];
  assert.deepEqual(await fork(ForkOptions.DIRECT_PATH), path);
  assert.deepEqual(await fork(ForkOptions.INCLUDE_BRANCHES), [...path, 'second answer'].sort());
  assert.equal((await refused(fork(ForkOptions.DEFAULT))).status, 400);
});
test('duplicate', async () => {
  const made = await tree('to be copied');
  const copy = await dataService.duplicateConversation({ conversationId: made.id });
  const source = await dataService.getMessagesByConvoId(made.id);
  assert.deepEqual(texts(copy.messages), texts(source));
  const stored = await dataService.getMessagesByConvoId(copy.conversation.conversationId);
  assert.deepEqual(texts(stored), texts(source));
});
test('delete', async () => {
  const { id } = await tree('to be deleted');
  const gone = await dataService.deleteConversation({ conversationId: id, source: 'button' });
  assert.deepEqual(gone, {
    acknowledged: true,
    deletedCount: 1,
    messages: { acknowledged: true, deletedCount: 4 },
    conversationIds: [id],
  });
  assert.equal((await refused(dataService.getConversationById(id))).status, 404);
  assert.equal((await dataService.deleteConversation({ conversationId: id })).deletedCount, 0);
  assert.equal((await refused(dataService.deleteConversation({ thread_id: 't' }))).status, 400);
  const { status, data } = await refused(dataService.deleteConversation({}));
  assert.deepEqual([status, data], [400, { error: 'no parameters provided' }]);
});

// ---- messages ----

test('messages', async () => {
  const made = await tree('to be listed');
  const found = await dataService.getMessagesByConvoId(made.id);
  found.forEach(isMessage);
  assert.deepEqual(found.map((m) => m.text), ['to be listed', 'first answer', 'second answer', 'and then?']);
  const parents = Object.fromEntries(found.map((m) => [m.text, m.parentMessageId]));
  assert.equal(parents['to be listed'], ROOT);
  assert.equal(parents['second answer'], made.question.messageId);
  assert.equal(parents['and then?'], made.first.messageId);
  assert.ok(!found.some((m) => '_id' in m || 'user' in m));
  const [one] = await dataService.getMessageById(made.id, made.second.messageId);
  assert.equal(one.text, 'second answer');
  assert.deepEqual(await dataService.getMessageById(made.id, MISSING), []);
});
test('message_update', async () => {
  const { id, question } = await tree('mistyped');
  await dataService.updateMessage({ conversationId: id, messageId: question.messageId, text: 'typed', model: 'gpt-4o' });
  assert.equal((await dataService.getMessagesByConvoId(id))[0].text, 'typed');
});
test('message_content', async () => {
  const content = [{ type: 'think', think: 'hm' }, { type: 'text', text: 'well' }, { type: 'agent_update', agent_update: {} }];
  const { conversationId, messageId } = await say('new', undefined, { content, isCreatedByUser: false });
  await dataService.updateMessageContent({ conversationId, messageId, index: 1, text: 'better' });
  const [found] = await dataService.getMessagesByConvoId(conversationId);
  assert.deepEqual(found.content, [content[0], { type: 'text', text: 'better' }, content[2]]);
  const edit = (index) => refused(dataService.updateMessageContent({ conversationId, messageId, index, text: 'x' }));
  assert.deepEqual(await edit(9), { status: 400, data: { error: 'Content part not found' } });
  assert.deepEqual(await edit(2), { status: 400, data: { error: 'Cannot update non-text content' } });
});
test('feedback', async () => {
  const { id, first } = await tree('praised');
  const feedback = { rating: 'thumbsUp', tag: 'accurate_reliable' };
  const told = await dataService.updateFeedback(id, first.messageId, { feedback });
  assert.deepEqual(told, { messageId: first.messageId, conversationId: id, feedback });
  const [found] = await dataService.getMessageById(id, first.messageId);
  assert.deepEqual(found.feedback, feedback);
});

// ---- tags and links ----

test('tags', async () => {
  const { conversationId } = await say('new', 'tagged');
  const tag = await dataService.createConversationTag({ tag: 'a/b c', addToConversation: true, conversationId });
  assert.equal(tag.tag, 'a/b c');
  assert.deepEqual(
    (await dataService.listConversations({ tags: ['none', 'a/b c'] })).conversations.map((c) => c.conversationId),
    [conversationId],
  );
  assert.equal((await dataService.updateConversationTag('a/b c', { tag: 'd', description: 'text' })).description, 'text');
  assert.deepEqual((await dataService.getConversationById(conversationId)).tags, ['d']);
  assert.deepEqual(await dataService.addTagToConversation(conversationId, { tags: ['d', 'e'], tag: 'e' }), ['d', 'e']);
  assert.deepEqual((await dataService.getConversationTags()).map((t) => [t.tag, t.count]), [['d', 1], ['e', 1]]);
  assert.equal((await dataService.deleteConversationTag('d')).tag, 'd');
  assert.deepEqual((await dataService.getConversationById(conversationId)).tags, ['e']);
  const unknown = await refused(dataService.deleteConversationTag('d'));
  assert.deepEqual(unknown, { status: 404, data: { error: 'Tag not found' } });
});
test('share', async () => {
  const made = await tree('shown to all');
  assert.equal((await dataService.getSharedLink(made.id)).shareId, null);
  const { shareId } = await dataService.createSharedLink(made.id);
  assert.equal((await refused(dataService.createSharedLink(made.id))).status, 409);
  await say(made.id, 'said later');
  const shown = await dataService.getSharedMessages(shareId);
  assert.equal(shown.title, 'shown to all');
  assert.deepEqual(texts(shown.messages), texts([made.question, made.first, made.second, made.next]));
  shown.messages.forEach(isMessage);
  const raw = JSON.stringify(shown);
  for (const secret of [made.id, made.question.messageId, made.question.user]) assert.ok(!raw.includes(secret));
  assert.equal((await dataService.getSharedLink(made.id)).shareId, shareId);
  const page = await dataService.listSharedLinks({ pageSize: 10, sortBy: 'createdAt', sortDirection: 'desc' });
  assert.deepEqual(page.links.map((l) => l.shareId), [shareId]);
  const listed = await dataService.listConversations({ search: 'shown' });
  assert.equal(listed.conversations[0].isShared, true);
  const copy = await dataService.forkSharedConversation(shareId, 1, shown.shareRevision);
  assert.deepEqual(texts(copy.messages), texts(shown.messages.slice(0, 2)));
  assert.equal((await dataService.updateSharedLink(shareId)).shareId, shareId);
  assert.equal((await dataService.getSharedMessages(shareId)).messages.length, 5);
  assert.equal((await refused(dataService.forkSharedConversation(shareId, 0, shown.shareRevision))).status, 409);
  assert.equal((await dataService.deleteSharedLink(shareId)).shareId, shareId);
  assert.deepEqual(await refused(dataService.getSharedMessages(shareId)), { status: 404, data: '' });
  assert.deepEqual((await refused(dataService.deleteSharedLink(shareId))).data, { message: 'Share not found' });
});

// ---- files ----

const form = (text, name = 'chat.json', type = 'application/json') => {
  const data = new FormData();
  data.append('file', new Blob([text], { type }), encodeURIComponent(name));
  return data;
};

test('import', async () => {
  const file = readFileSync(join(__dirname, 'librechat.json'));
  const told = await dataService.importConversationsFile(form(file, '100% mine.json'));
  assert.deepEqual(told, {
    message: 'Conversation(s) imported successfully',
    imported: 1,
    skipped: 0,
    failed: 0,
    errors: [],
  });
  const again = await dataService.importConversationsFile(form(file));
  assert.deepEqual([again.imported, again.skipped], [0, 1]);
  const { conversations } = await dataService.listConversations({ search: 'albatross' });
  assert.deepEqual(conversations.map((c) => [c.title, c.endpoint, c.model]), [['Sea birds', 'openAI', 'gpt-4o']]);
  const messages = await dataService.getMessagesByConvoId(conversations[0].conversationId);
  assert.deepEqual(messages.map((m) => m.sender), ['User', 'GPT-4o', 'GPT-4o']);
  assert.equal(messages[1].parentMessageId, messages[2].parentMessageId);
});
test('import_refuses', async () => {
  const text = await refused(dataService.importConversationsFile(form('hello', 'a.txt', 'text/plain')));
  assert.deepEqual(text, { status: 415, data: { message: 'Only JSON files are allowed' } });
  const other = await refused(dataService.importConversationsFile(form('{"a": 1}')));
  assert.equal(other.status, 500);
  assert.equal(other.data.imported, 0);
  assert.equal(other.data.errors.length, 1);
});
test('export_and_import', async () => {
  const made = await tree('there and back');
  const before = await dataService.getMessagesByConvoId(made.id);
  const file = await request.get(`/api/convos/${made.id}/export`);
  assert.equal(file.recursive, false);
  await dataService.deleteConversation({ conversationId: made.id });
  await dataService.importConversationsFile(form(JSON.stringify(file)));
  const { conversations } = await dataService.listConversations({ search: '"there and back"' });
  const after = await dataService.getMessagesByConvoId(conversations[0].conversationId);
  const shape = (messages) => {
    const place = Object.fromEntries(messages.map((m, i) => [m.messageId, i]));
    return messages.map((m) => [m.text, m.sender, m.model, m.createdAt, place[m.parentMessageId]]);
  };
  assert.deepEqual(shape(after), shape(before));
});

// ---- the end ----

test('archive_all', async () => {
  await say('new', 'one of all');
  const { archivedCount } = await dataService.archiveAllConversations();
  assert.ok(archivedCount > 0);
  assert.deepEqual((await dataService.listConversations()).conversations, []);
  assert.equal((await dataService.archiveAllConversations()).archivedCount, 0);
});
test('clear_all', async () => {
  const gone = await dataService.clearAllConversations();
  assert.ok(gone.deletedCount > 0);
  assert.equal(gone.conversationIds.length, gone.deletedCount);
  assert.ok(gone.messages.deletedCount > gone.deletedCount);
  assert.deepEqual((await dataService.listConversations({ isArchived: true })).conversations, []);
  assert.equal((await dataService.clearAllConversations()).deletedCount, 0);
});
test('logout', async () => {
  await dataService.logout();
  assert.equal(cookies.size, 0);
  const { status, data } = await refused(axios.get('/api/user', { _retry: true }));
  assert.deepEqual([status, data], [401, { message: 'Unauthorized' }]);
});

(async () => {
  console.warn = () => {}; // the client layer tells of every refresh
  for (const [name, run] of cases) {
    try {
      await run();
      console.log(JSON.stringify({ name, error: null }));
    } catch (error) {
      const answer = error.response ? `${error.response.status} ${JSON.stringify(error.response.data)}` : '';
      console.log(JSON.stringify({ name, error: [error.stack ?? String(error), answer].join('\n').trim() }));
    }
  }
})();
