-- Sends the requests of a file in random order, with a token if one is given. Each line of the
-- file is a method, a path and a body, separated by tabs. Each @@@@@@ is replaced by a running
-- number, so that no two heartbeats are equal, and each \n by the end of a line.
-- Prints a last line of RESULT and JSON.

local requests = {}
local sent = 0
local threads = {}

rejected = 0 -- global, because `done` runs in another Lua state and reads it by `thread:get`

-- The parts of a text between the marks @@@@@@.
local function pieces(text)
  local found = {}
  local from = 1
  local mark, rest = text:find("@@@@@@", from, true)
  while mark do
    found[#found + 1] = text:sub(from, mark - 1)
    from = rest + 1
    mark, rest = text:find("@@@@@@", from, true)
  end
  found[#found + 1] = text:sub(from)
  return found
end

-- The status of a batch is 200 even when a heartbeat in it was refused, so look at its body.
local function look_for_rejected(_, _, body)
  if not body:find('"rejected":0', 1, true) then
    rejected = rejected + 1
  end
end

function setup(thread)
  threads[#threads + 1] = thread
end

function init(arguments)
  local headers = { ["Content-Type"] = "application/json" }
  if (arguments[2] or "") ~= "" then
    headers["Authorization"] = "Bearer " .. arguments[2]
  end
  for line in io.lines(arguments[1]) do
    local method, path, body = line:match("^(%u+)\t(%S+)\t(.*)$")
    body = body:gsub("\\n", "\n") -- the bodies of a Pushgateway have several lines
    requests[#requests + 1] = pieces(wrk.format(method, path, headers, body))
    if path == "/heartbeats" then
      response = look_for_rejected
    end
  end
  math.randomseed(os.time())
end

function request()
  sent = sent + 1
  return table.concat(requests[math.random(#requests)], ("%06d"):format(sent % 1000000))
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("rejected")
  end
  local result = 'RESULT {"requests": %d, "failed": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n'
  io.write(result:format(
    summary.requests,
    failed,
    summary.duration / 1e6,
    latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3
  ))
end
