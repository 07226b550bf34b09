# Remote support endpoint. Made by the program from its catalog; a change by hand is found by the rights' hash at most.
# It answers calls on standard input with objects on standard output. The program's documentation has the protocol.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$Protocol = 1
$Rights = @RIGHTS@
$CallBytesMax = @CALL_BYTES_MAX@
$ObjectBytesMax = @OBJECT_BYTES_MAX@
$TextBytesMax = @TEXT_BYTES_MAX@
$TextCharsMax = 2000
$PropertiesMax = @PROPERTIES_MAX@
$ItemsMax = 1000
$DepthMax = 3

# Everything that may be called, with everything that may be given.
$Allowed = @{
@ALLOWED@
}

$In = [System.Console]::OpenStandardInput()
$Out = [System.Console]::OpenStandardOutput()
$Utf8 = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
$Invariant = [System.Globalization.CultureInfo]::InvariantCulture

function Read-Bytes([int] $Count) {
    $bytes = New-Object -TypeName 'byte[]' -ArgumentList $Count
    $at = 0
    while ($at -lt $Count) {
        $read = $In.Read($bytes, $at, $Count - $at)
        if ($read -eq 0) { exit 0 }
        $at += $read
    }
    return , $bytes
}

# Writes a frame; false if it is over its limit. Every text in it is Base64 already, so nothing needs escapes.
function Write-Frame([char] $Kind, [string] $Json, [int] $BytesMax) {
    $payload = $Utf8.GetBytes($Json)
    $length = $payload.Length
    if ($length -gt $BytesMax) { return $false }
    $header = [byte[]] @(
        [byte] $Kind, (($length -shr 24) -band 255), (($length -shr 16) -band 255), (($length -shr 8) -band 255),
        ($length -band 255)
    )
    $Out.Write($header, 0, $header.Length)
    $Out.Write($payload, 0, $length)
    $Out.Flush()
    return $true
}

function ConvertTo-Text64([string] $Text) {
    return '"' + [System.Convert]::ToBase64String($Utf8.GetBytes($Text)) + '"'
}

function Write-Text([char] $Kind, [long] $Number, [string] $Field, [string] $Text) {
    if ($Text.Length -gt $TextCharsMax) { $Text = $Text.Substring(0, $TextCharsMax) }
    $json = '{"number":' + $Number.ToString($Invariant) + ',"' + $Field + '":' + (ConvertTo-Text64 $Text) + '}'
    $null = Write-Frame $Kind $json $TextBytesMax
}

function ConvertTo-Wire($Value, [int] $Depth) {
    if ($null -eq $Value) { return '{"k":"null"}' }
    $base = $Value.psobject.BaseObject
    if ($base -is [bool] -or $base -is [switch]) {
        if ([bool] $base) { return '{"k":"bool","v":true}' } else { return '{"k":"bool","v":false}' }
    }
    if ($base -is [enum] -or $base -is [string] -or $base -is [char]) {
        return '{"k":"text","v":' + (ConvertTo-Text64 $base.ToString()) + '}'
    }
    if ($base -is [uint64]) { return '{"k":"size","v":' + $base.ToString($Invariant) + '}' }
    foreach ($type in @([byte], [sbyte], [int16], [uint16], [int32], [uint32], [int64])) {
        if ($base -is $type) { return '{"k":"integer","v":' + $base.ToString($Invariant) + '}' }
    }
    if ($base -is [double] -or $base -is [single] -or $base -is [decimal]) {
        $number = [double] $base
        if (-not [double]::IsNaN($number) -and -not [double]::IsInfinity($number)) {
            return '{"k":"float","v":' + $number.ToString('R', $Invariant) + '}'
        }
    }
    if ($base -is [datetime]) {
        $text = $base.ToUniversalTime().ToString('yyyy-MM-dd''T''HH:mm:ss.fffffff''Z''', $Invariant)
        return '{"k":"date","v":"' + $text + '"}'
    }
    if ($Depth -le 0 -or $base -is [valuetype] -or $base -is [version] -or $base -is [uri] -or
        $base -is [System.Net.IPAddress] -or $base -is [type] -or $base -is [scriptblock]) {
        return '{"k":"text","v":' + (ConvertTo-Text64 $base.ToString()) + '}'
    }
    $parts = New-Object -TypeName 'System.Collections.Generic.List[string]'
    if ($base -is [System.Collections.IEnumerable] -and $base -isnot [System.Collections.IDictionary]) {
        foreach ($item in $base) {
            if ($parts.Count -ge $ItemsMax) { break }
            $parts.Add((ConvertTo-Wire $item ($Depth - 1)))
        }
        return '{"k":"list","v":[' + [string]::Join(',', $parts.ToArray()) + ']}'
    }
    if ($base -is [System.Collections.IDictionary]) {
        foreach ($key in $base.Keys) {
            if ($parts.Count -ge $PropertiesMax) { break }
            $parts.Add('[' + (ConvertTo-Text64 $key.ToString()) + ',' + (ConvertTo-Wire $base[$key] ($Depth - 1)) + ']')
        }
    } else {
        foreach ($property in $Value.psobject.Properties) {
            if ($parts.Count -ge $PropertiesMax) { break }
            if (@('CimClass', 'CimInstanceProperties', 'CimSystemProperties') -contains $property.Name) { continue }
            try { $own = $property.Value } catch { $own = $null }
            $parts.Add('[' + (ConvertTo-Text64 $property.Name) + ',' + (ConvertTo-Wire $own ($Depth - 1)) + ']')
        }
    }
    $name = @($Value.psobject.TypeNames)[0]
    $name = @($name -split '[./#]')[-1]
    return '{"k":"object","v":{"type":' + (ConvertTo-Text64 $name) + ',"properties":[' +
        [string]::Join(',', $parts.ToArray()) + ']}}'
}

function Write-Result([long] $Number, $Result) {
    $json = '{"number":' + $Number.ToString($Invariant) + ',"value":' + (ConvertTo-Wire $Result $DepthMax) + '}'
    if (-not (Write-Frame 'o' $json $ObjectBytesMax)) {
        Write-Text 'e' $Number 'text' 'An object was left out because it is larger than a session carries.'
    }
}

# The value of an argument if it fits its rule; the node has judged it already, and this is the second lock.
function Get-ArgumentValue($Rule, $Argument) {
    if ($Argument.kind -cne $Rule.Kind) { throw ('-' + $Argument.name + ' has another type.') }
    $values = @($Argument.values)
    if ($values.Count -lt 1 -or $values.Count -gt $Rule.ItemsMax) { throw ('-' + $Argument.name + ' has too many values.') }
    if ($Rule.Kind -ceq 'switch') { return [bool] $values[0] }
    if ($Rule.Kind -ceq 'integers') {
        foreach ($value in $values) {
            if ([long] $value -lt $Rule.Low -or [long] $value -gt $Rule.High) { throw ('-' + $Argument.name + ' is out of range.') }
        }
        if ($Rule.ItemsMax -eq 1) { return [long] $values[0] }
        return , ([long[]] $values)
    }
    $texts = New-Object -TypeName 'System.Collections.Generic.List[string]'
    foreach ($value in $values) {
        $text = $Utf8.GetString([System.Convert]::FromBase64String($value))
        $fits = if ($null -ne $Rule.Set) { $Rule.Set -ccontains $text } else { [regex]::IsMatch($text, $Rule.Pattern) }
        if (-not $fits) { throw ('-' + $Argument.name + ' has a value that is not permitted.') }
        $texts.Add($text)
    }
    if ($Rule.ItemsMax -eq 1) { return $texts[0] }
    return , $texts.ToArray()
}

# A runspace in which only the allowed commands are visible, without language, programs, scripts and loading of modules.
function New-ConstrainedRunspace {
    $state = [System.Management.Automation.Runspaces.InitialSessionState]::CreateDefault2()
    $runspace = [System.Management.Automation.Runspaces.RunspaceFactory]::CreateRunspace($state)
    $runspace.Open()
    $modules = @($Allowed.Values | ForEach-Object { $_.Module } | Where-Object { $_ } | Sort-Object -Unique)
    foreach ($module in $modules) {
        # A module that this node lacks leaves its commands unavailable.
        $shell = [powershell]::Create()
        $shell.Runspace = $runspace
        try {
            $null = $shell.AddCommand('Microsoft.PowerShell.Core\Import-Module').AddParameter('Name', $module).Invoke()
        } catch {
            $null = $_
        } finally {
            $shell.Dispose()
        }
    }
    $proxy = $runspace.SessionStateProxy
    $proxy.SetVariable('PSModuleAutoLoadingPreference', 'None')
    foreach ($command in @($proxy.InvokeCommand.GetCommands('*', [System.Management.Automation.CommandTypes]::All, $true))) {
        $rule = $Allowed[$command.Name]
        $isPlain = @('Cmdlet', 'Function') -contains $command.CommandType.ToString()
        if ($isPlain -and $null -ne $rule -and ($null -eq $rule.Module -or $command.ModuleName -eq $rule.Module)) {
            $prefix = if ($command.ModuleName) { $command.ModuleName + '\' } else { '' }
            $Known[$command.Name] = $prefix + $command.Name
        } elseif (@('Application', 'ExternalScript') -notcontains $command.CommandType.ToString()) {
            $command.Visibility = [System.Management.Automation.SessionStateEntryVisibility]::Private
        }
    }
    $proxy.Applications.Clear()
    $proxy.Scripts.Clear()
    $proxy.LanguageMode = [System.Management.Automation.PSLanguageMode]::NoLanguage
    return $runspace
}

function Invoke-Call($Runspace, $Call) {
    $rule = $Allowed[[string] $Call.command]
    if ($null -eq $rule) { throw 'The command is not permitted.' }
    $qualified = $Known[[string] $Call.command]
    if ($null -eq $qualified) { throw 'permitted, but not available here: this node has no such command.' }
    $shell = [powershell]::Create()
    $shell.Runspace = $Runspace
    try {
        $null = $shell.AddCommand($qualified)
        foreach ($argument in @($Call.arguments)) {
            $parameter = $rule.Parameters[[string] $argument.name]
            if ($null -eq $parameter) { throw ('-' + $argument.name + ' is not permitted.') }
            $null = $shell.AddParameter([string] $argument.name, (Get-ArgumentValue $parameter $argument))
        }
        $nothing = New-Object -TypeName 'System.Management.Automation.PSDataCollection[psobject]'
        $nothing.Complete()
        $results = New-Object -TypeName 'System.Management.Automation.PSDataCollection[psobject]'
        $running = $shell.BeginInvoke($nothing, $results)
        do {
            $done = $running.AsyncWaitHandle.WaitOne(50)
            foreach ($result in $results.ReadAll()) { Write-Result $Call.number $result }
        } until ($done)
        foreach ($result in $results.ReadAll()) { Write-Result $Call.number $result }
        foreach ($warning in $shell.Streams.Warning) { Write-Text 'e' $Call.number 'text' ('WARNING: ' + $warning.ToString()) }
        foreach ($problem in $shell.Streams.Error) { Write-Text 'e' $Call.number 'text' $problem.ToString() }
        $null = $shell.EndInvoke($running)
    } finally {
        $shell.Dispose()
    }
}

$Known = @{}
$Constrained = New-ConstrainedRunspace
$version = $PSVersionTable.PSEdition + ' ' + $PSVersionTable.PSVersion.ToString()
$hello = '{"protocol":' + $Protocol.ToString($Invariant) + ',"rights":"' + $Rights + '","host":' + (ConvertTo-Text64 $version) + '}'
$null = Write-Frame 'h' $hello $TextBytesMax
while ($true) {
    $header = Read-Bytes 5
    $length = ([int] $header[1] -shl 24) -bor ([int] $header[2] -shl 16) -bor ([int] $header[3] -shl 8) -bor [int] $header[4]
    if ($header[0] -ne [byte] [char] 'c' -or $length -lt 2 -or $length -gt $CallBytesMax) { exit 1 }
    $call = ConvertFrom-Json -InputObject ($Utf8.GetString((Read-Bytes $length)))
    $failure = ''
    try { Invoke-Call $Constrained $call } catch { $failure = $_.Exception.Message }
    Write-Text 'f' $call.number 'failure' $failure
}
