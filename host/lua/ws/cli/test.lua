--- `wsrun test [-k TEXT] FILE...`
return { main = function(words) return require "ws.test".main(words) end }
