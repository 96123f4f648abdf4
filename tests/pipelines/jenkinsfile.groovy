// Reads a declarative Jenkinsfile with Jenkins' own Groovy and without Jenkins:
//   groovy tests/pipelines/jenkinsfile.groovy FILE NAME=VALUE...
//
// Every word must be one that Jenkins knows at its place; what this project does not use is not listed. Prints JSON:
// the parameters, the environment, and the commands of the stages that these parameters choose, each with the variables
// of the credentials that are bound around it.
import groovy.json.JsonOutput

class Words {
  String place
  Map<String, Closure> known = [:]
  Closure assigned = null

  def invokeMethod(String name, Object given) {
    def action = known[name]
    if (action == null) throw new IllegalArgumentException("$place has no '$name'; it has ${known.keySet().join(', ')}")
    def args = given as Object[]
    if (action.parameterTypes && action.parameterTypes[0] == Map) { // options by name, and what stands alone
      def options = args.length > 0 && args[0] instanceof Map ? args[0] : [:]
      return action(options, args.findAll { !(it instanceof Map) } as List)
    }
    return action(*args)
  }

  void setProperty(String name, Object value) {
    if (name in ['place', 'known', 'assigned']) { metaClass.setProperty(this, name, value); return }
    if (assigned == null) throw new IllegalArgumentException("$place: '$name' cannot be set here")
    assigned(name, value)
  }

  void run(Closure body) {
    body.delegate = this
    body.resolveStrategy = Closure.DELEGATE_ONLY
    body()
  }
}

def only(String place, Map options, List<String> allowed, List<String> needed = []) {
  def unknown = options.keySet() - allowed - needed
  if (unknown) throw new IllegalArgumentException("$place has no option ${unknown.join(', ')}")
  def missing = needed - options.keySet()
  if (missing) throw new IllegalArgumentException("$place lacks ${missing.join(', ')}")
}

def file = args[0]
def chosen = args.drop(1).collectEntries { it.split('=', 2) as List }
def out = [parameters: [:], environment: [:], commands: [], reports: []]
def seen = []
def bound = []
def taken = true // the commands of a stage that is left out are read and not kept

Map<String, Closure> steps = [:]
steps = [
  sh: { String command -> if (taken) out.commands << [command: command, bound: bound.flatten()] },
  junit: { Map o, List alone ->
    only('junit', o, ['allowEmptyResults', 'skipPublishingChecks'], ['testResults'])
    out.reports << o.testResults
  },
  archiveArtifacts: { Map o, List alone ->
    only('archiveArtifacts', o, ['allowEmptyArchive', 'fingerprint'], ['artifacts'])
    out.reports << o.artifacts
  },
  gitUsernamePassword: { Map o, List alone ->
    only('gitUsernamePassword', o, ['gitToolName'], ['credentialsId'])
    ['GIT_ASKPASS']
  },
  withCredentials: { Map o, List alone ->
    bound.push(alone[0])
    new Words(place: 'withCredentials', known: steps).run(alone[1])
    bound.pop()
  },
]

def when = { Closure body ->
  def holds = true
  new Words(place: 'when', known: [environment: { Map o, List alone ->
    only('environment', o, [], ['name', 'value'])
    holds = holds && chosen[o.name] == o.value
  }]).run(body)
  holds
}

def stage = { String name, Closure body ->
  def done = false
  taken = true
  new Words(place: "stage '$name'", known: [
    when: { Closure c -> taken = when(c) },
    steps: { Closure c ->
      done = true
      new Words(place: 'steps', known: steps).run(c)
    },
  ]).run(body)
  if (!done) throw new IllegalArgumentException("stage '$name' has no steps")
}

def parameter = { List<String> needed -> { Map o, List alone ->
  only('a parameter', o, ['defaultValue', 'trim', 'description'], ['name'] + needed)
  out.parameters[o.name] = o.choices ? o.choices[0] : o.defaultValue ?: ''
} }

def sections = [
  agent: { Closure c -> new Words(place: 'agent', known: [label: { String l -> out.agent = l }]).run(c) },
  parameters: { Closure c ->
    new Words(place: 'parameters', known: [string: parameter([]), choice: parameter(['choices'])]).run(c)
  },
  options: { Closure c ->
    new Words(place: 'options', known: [
      timeout: { Map o, List alone -> only('timeout', o, ['activity'], ['time', 'unit']) },
      logRotator: { Map o, List alone -> only('logRotator', o, ['daysToKeepStr'], ['numToKeepStr']) },
      buildDiscarder: { Object rotator -> },
    ]).run(c)
  },
  environment: { Closure c ->
    new Words(place: 'environment', known: [credentials: { String id -> [credential: id] }],
      assigned: { name, value -> out.environment[name] = value }).run(c)
  },
  stages: { Closure c -> new Words(place: 'stages', known: [stage: stage]).run(c) },
  post: { Closure c ->
    new Words(place: 'post', known: ['always', 'success', 'failure', 'unstable', 'aborted', 'cleanup'].collectEntries {
      [it, { Closure s -> new Words(place: 'post', known: steps).run(s) }] }).run(c)
  },
]

def top = new Words(place: 'the file', known: [pipeline: { Closure body ->
  new Words(place: 'pipeline', known: sections.collectEntries { name, action ->
    [name, { Closure c ->
      if (name in seen) throw new IllegalArgumentException("pipeline has two $name")
      seen << name
      action(c)
    }]
  }).run(body)
}])

def binding = new Binding()
binding.setVariable('pipeline', { Closure body -> top.invokeMethod('pipeline', [body] as Object[]) })
try {
  new GroovyShell(binding).evaluate(new File(file))
  ['agent', 'stages'].each { if (!(it in seen)) throw new IllegalArgumentException("pipeline has no $it") }
} catch (IllegalArgumentException | MissingMethodException e) {
  def frame = e.stackTrace.find { it.fileName == new File(file).name }
  System.err.println "$file:${frame ? frame.lineNumber : 1}: $e.message"
  System.exit 1
}
println JsonOutput.toJson(out)
