// Runs a command of the CLI plugin heroku-builds, which current releases of the
// CLI do not install: node plugin.js PLUGIN COMMAND APP [FLAG=VALUE...] [ARGUMENT]
// The variables are those of the CLI.
const [plugin, command, app, ...rest] = process.argv.slice(2)
const found = require(plugin).commands.find(c => (c.command || 'index') === command)
const flags = {}, args = {}
for (const text of rest) {
  const [, name, value] = text.match(/^([a-z-]+)=(.*)$/s) || []
  if (name) flags[name] = value
  else args.build = text
}
found.run({
  app, flags, args, cwd: process.cwd(), version: 'heroku-cli/8',
  apiUrl: process.env.HEROKU_HOST, apiHost: new URL(process.env.HEROKU_HOST).host,
  auth: {password: process.env.HEROKU_API_KEY},
})
