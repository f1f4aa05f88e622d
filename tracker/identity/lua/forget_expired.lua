-- The owner of an account is to see its tokens: those that ended long ago are gone.
--
-- KEYS  1 {accounts}
-- ARGV  1 account
-- Returns {'forgotten'}

-- include: clock
-- include: tokens

forget_expired(ARGV[1], now - expired_kept)
return { 'forgotten' }
