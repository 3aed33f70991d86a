-- For wrk: sends the requests of a file in turn, and prints the result as one line of JSON.

local requests, sent = {}, 0

function init(arguments)
  for request in io.open(arguments[1]):read("*a"):gmatch("%Z+") do
    requests[#requests + 1] = request
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}\n',
    summary.requests, failed, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6
  ))
end
