"""The Lua scripts of the locks: each operation is one script, so it is one atomic step.

All locks of an element are fields of one hash, so a script sees every conflict at once and
expiry is judged by the server's own clock. Repeating a script with the same owner changes
nothing, which makes a lost answer harmless.

    KEYS[1]  hash of the locks held: field -> JSON
    KEYS[2]  hash of the last fence of rebuild, check, cleanup
    KEYS[3]  last fence of this very lock (for lazy locks a key of its own, with an expiry)
"""

_PRELUDE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function live(raw)
  if not raw then return nil end
  local lock = cjson.decode(raw)
  if lock.expires_ms > now then return lock end
  return nil
end
"""

# ARGV: field, kind, file_id, owner, fence, ttl_ms, holder, operation, fence_ttl_ms
# Returns {'HELD', lock, losers} | {'REFUSED', holder's lock} | {'FENCED', last fence}
ACQUIRE = (
    _PRELUDE
    + """
local field, kind, file_id, owner = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local fence, ttl = tonumber(ARGV[5]), tonumber(ARGV[6])
local REBUILD, LAZY = 1, 3
local function conflict(lock)
  if kind == REBUILD or lock.kind == REBUILD then return true end
  if kind == LAZY or lock.kind == LAZY then
    return kind == lock.kind and file_id == lock.file_id
  end
  return true
end

local own = live(redis.call('HGET', KEYS[1], field))
if own and own.owner == owner then return {'HELD', cjson.encode(own), '[]'} end

local losers, highest = {}, 0
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local lock = live(held[i + 1])
  if not lock then
    redis.call('HDEL', KEYS[1], held[i])
  else
    if lock.fence > highest then highest = lock.fence end
    if conflict(lock) then
      if lock.kind <= kind then return {'REFUSED', held[i + 1]} end
      losers[#losers + 1] = {field = held[i], owner = lock.owner}
    end
  end
end

local last = tonumber(redis.call('HGET', KEYS[2], 'rebuild') or '0')
local mine = tonumber(redis.call('GET', KEYS[3]) or '0')
if mine > last then last = mine end
if kind == REBUILD then
  if highest > last then last = highest end
  for _, name in ipairs({'check', 'cleanup'}) do
    local seen = tonumber(redis.call('HGET', KEYS[2], name) or '0')
    if seen > last then last = seen end
  end
end
if fence <= last then return {'FENCED', string.format('%.0f', last)} end

for _, loser in ipairs(losers) do redis.call('HDEL', KEYS[1], loser.field) end
local lock = {
  kind = kind, file_id = file_id, owner = owner, fence = fence,
  holder = ARGV[7], operation = ARGV[8], since_ms = now, expires_ms = now + ttl,
}
redis.call('HSET', KEYS[1], field, cjson.encode(lock))
redis.call('PEXPIRE', KEYS[1], 3600000)
redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[9])
if kind ~= LAZY then redis.call('HSET', KEYS[2], field, ARGV[5]) end
return {'HELD', cjson.encode(lock), #losers > 0 and cjson.encode(losers) or '[]'}
"""
)

# ARGV: field, owner, ttl_ms. Returns the lock, renewed, or what is there instead ('' if none).
RENEW = (
    _PRELUDE
    + """
local lock = live(redis.call('HGET', KEYS[1], ARGV[1]))
if lock and lock.owner == ARGV[2] then
  lock.expires_ms = now + tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(lock))
  redis.call('PEXPIRE', KEYS[1], 3600000)
  return {'HELD', cjson.encode(lock)}
end
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local other = live(held[i + 1])
  if other and other.kind <= tonumber(ARGV[4]) then return {'LOST', held[i + 1]} end
end
return {'LOST', ''}
"""
)

# ARGV: field, owner. Returns 1 if it was ours.
RELEASE = """
local raw = redis.call('HGET', KEYS[1], ARGV[1])
if raw and cjson.decode(raw).owner == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
return 0
"""

# ARGV: field, the fence it must have (0: any), the new fence, fence_ttl_ms
# Returns the lock taken away, '' if there is none, 'FENCED' if its fence is above the new one.
SEIZE = (
    _PRELUDE
    + """
local lock = live(redis.call('HGET', KEYS[1], ARGV[1]))
if not lock then return '' end
local wanted = tonumber(ARGV[2])
if wanted ~= 0 and lock.fence ~= wanted then return '' end
if lock.fence >= tonumber(ARGV[3]) then return 'FENCED' end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
if lock.kind ~= 3 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
return cjson.encode(lock)
"""
)

# Returns the server's clock in milliseconds, then every lock that has not expired.
LIST = (
    _PRELUDE
    + """
local found = {string.format('%.0f', now)}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  if live(held[i + 1]) then found[#found + 1] = held[i + 1] end
end
return found
"""
)
