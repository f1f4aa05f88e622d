-- permute(position, size, seed): which job comes at this turn.
-- The same as `permutation.py`, which says how and why; every product stays below 2^53.

local function round_bits(value, seed, number)
  local key = (seed % 65536 * 0x9E3779B1 + math.floor(seed / 65536) * 0x85EBCA6B
    + (number + 1) * 0xC2B2AE35) % 4294967296
  local mixed = (value * 0x9E3779B1 + key) % 4294967296
  mixed = bit.bxor(mixed, bit.rshift(mixed, 15)) % 4294967296 -- % makes bit's signed word positive
  mixed = (mixed % 65536 * 0x85EBCA6B + math.floor(mixed / 65536) * 0xC2B2AE35) % 4294967296
  return math.floor(mixed / 65536)
end

local function permute(position, size, seed)
  local half = 2
  while half * half < size do
    half = half * 2
  end
  local value = position
  repeat
    local left, right = math.floor(value / half), value % half
    for number = 0, 3 do
      left, right = right, bit.bxor(left, round_bits(right, seed, number) % half)
    end
    value = left * half + right
  until value < size
  return value
end
