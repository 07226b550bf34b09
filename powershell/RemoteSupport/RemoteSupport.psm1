# The cmdlets of remote support, over the program `remote-support`.
#
# Everything is decided by the program; this module passes typed values on, reads its JSON, and gives objects and error
# records. No value becomes part of a command line that is read again, and a credential goes by standard input only.

Set-StrictMode -Version 2.0

# Categories of errors by the program's codes; what is not listed has none of its own.
$script:Categories = @{
    'invalid-value'      = 'InvalidArgument'
    'no-terminal'        = 'InvalidOperation'
    'refused'            = 'PermissionDenied'
    'not-found'          = 'ObjectNotFound'
    'invalid-file'       = 'InvalidData'
    'unsafe-permissions' = 'SecurityError'
    'key'                = 'SecurityError'
    'statement'          = 'SecurityError'
    'integrity'          = 'SecurityError'
    'store'              = 'ResourceUnavailable'
    'io'                 = 'ResourceUnavailable'
    'agent-unreachable'  = 'ResourceUnavailable'
    'unreachable'        = 'ConnectionError'
    'not-available'      = 'NotImplemented'
    'internal'           = 'NotSpecified'
}

# Exit codes that the program documents.
$script:ExitDeclined = 3
$script:ExitPartial = 7

function Get-ProgramPath {
    # The program: where REMOTE_SUPPORT_PROGRAM says, beside this module, where it is installed, or on the path.
    if ($env:REMOTE_SUPPORT_PROGRAM) {
        return $env:REMOTE_SUPPORT_PROGRAM
    }
    $candidates = @(
        [IO.Path]::Combine($PSScriptRoot, 'remote-support.exe')
        [IO.Path]::Combine($PSScriptRoot, 'remote-support')
    )
    if ($env:ProgramFiles) {
        $candidates += [IO.Path]::Combine($env:ProgramFiles, 'RemoteSupport', 'remote-support.exe')
    }
    $candidates += '/usr/bin/remote-support'
    foreach ($candidate in $candidates) {
        if (Test-Path -LiteralPath $candidate -PathType Leaf) {
            return $candidate
        }
    }
    $found = Get-Command -Name 'remote-support' -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
    if ($null -ne $found) {
        return $found.Path
    }
    throw [IO.FileNotFoundException]::new('The program remote-support is not installed. Install it, or name it in the variable REMOTE_SUPPORT_PROGRAM.')
}

function ConvertTo-NativeArgument {
    # One argument as Windows programs read it back: quoted, with backslashes before quotes doubled.
    param([string] $Value)

    if ($Value -ne '' -and $Value -notmatch '[\s"]') {
        return $Value
    }
    $escaped = [regex]::Replace($Value, '(\\*)"', '$1$1\"')
    $escaped = [regex]::Replace($escaped, '(\\+)$', '$1$1')
    return '"' + $escaped + '"'
}

function Invoke-Program {
    # Runs the program and gives its exit code, its result, its messages and its failure, if there is one.
    param(
        [string[]] $Arguments,
        [string] $InputText
    )

    $start = [Diagnostics.ProcessStartInfo]::new()
    $start.FileName = Get-ProgramPath
    $all = @($Arguments) + @('--output', 'json')
    if ($start.PSObject.Properties['ArgumentList']) {
        foreach ($argument in $all) {
            $start.ArgumentList.Add($argument)
        }
    }
    else {
        $quoted = foreach ($argument in $all) { ConvertTo-NativeArgument -Value $argument }
        $start.Arguments = $quoted -join ' '
    }
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = [Text.UTF8Encoding]::new($false)
    $start.StandardErrorEncoding = [Text.UTF8Encoding]::new($false)

    $process = [Diagnostics.Process]::Start($start)
    try {
        # Both are read while it runs: a program whose output nobody reads would wait for ever.
        $output = $process.StandardOutput.ReadToEndAsync()
        $messages = $process.StandardError.ReadToEndAsync()
        if ($InputText) {
            $bytes = [Text.UTF8Encoding]::new($false).GetBytes($InputText)
            $process.StandardInput.BaseStream.Write($bytes, 0, $bytes.Length)
        }
        $process.StandardInput.Close()
        # In short waits, so that Ctrl+C is heard.
        while (-not $process.WaitForExit(100)) { }
        $process.WaitForExit()
        $failure = $null
        $notes = foreach ($line in ($messages.Result -split '\r?\n')) {
            if ($line.StartsWith('{"error":')) {
                $failure = (ConvertFrom-Json -InputObject $line).error
            }
            else {
                $line
            }
        }
        return [pscustomobject]@{
            ExitCode = $process.ExitCode
            Output   = $output.Result
            Notes    = ($notes -join [Environment]::NewLine).Trim()
            Failure  = $failure
        }
    }
    finally {
        if (-not $process.HasExited) {
            $process.Kill()
        }
        $process.Dispose()
    }
}

function ConvertTo-ErrorRecord {
    # A failure of the program as PowerShell tells errors.
    param($Run)

    $failure = $Run.Failure
    if ($null -eq $failure) {
        $failure = [pscustomobject]@{
            code = 'internal'; message = "remote-support ended with exit code $($Run.ExitCode). $($Run.Notes)"
            target = $null; details = @(); nextStep = $null
        }
    }
    $text = $failure.message
    if ($failure.target) {
        $text = "${text}: $($failure.target)"
    }
    foreach ($detail in @($failure.details)) {
        $text = "$text ($($detail.message))"
    }
    $category = 'NotSpecified'
    if ($script:Categories.ContainsKey($failure.code)) {
        $category = $script:Categories[$failure.code]
    }
    $record = [Management.Automation.ErrorRecord]::new(
        [InvalidOperationException]::new($text), "RemoteSupport.$($failure.code)", $category, $failure.target)
    $record.ErrorDetails = [Management.Automation.ErrorDetails]::new($text)
    if ($failure.nextStep) {
        $record.ErrorDetails.RecommendedAction = $failure.nextStep
    }
    return $record
}

function ConvertTo-Instant {
    # A date of the program's JSON; newer versions of PowerShell have read it already.
    param($Value)

    if ($null -eq $Value) {
        return $null
    }
    if ($Value -is [DateTime]) {
        return [DateTimeOffset]::new($Value.ToUniversalTime())
    }
    # .NET knows seven places of a second, the program writes nine.
    $text = $Value -replace '(\.\d{7})\d+', '$1'
    return [DateTimeOffset]::Parse($text, [Globalization.CultureInfo]::InvariantCulture, [Globalization.DateTimeStyles]::AssumeUniversal)
}

function ConvertTo-Record {
    # One object of the program's JSON, with names as PowerShell users write them and dates as dates.
    param(
        $InputObject,
        [string] $TypeName
    )

    $record = [ordered]@{ PSTypeName = $TypeName }
    foreach ($property in $InputObject.PSObject.Properties) {
        $name = $property.Name.Substring(0, 1).ToUpperInvariant() + $property.Name.Substring(1)
        if ($name -cmatch '(At|Time)$') {
            $record[$name] = ConvertTo-Instant -Value $property.Value
        }
        else {
            $record[$name] = $property.Value
        }
    }
    return [pscustomobject] $record
}

function ConvertFrom-Result {
    # The objects in what the program printed, one by one.
    param(
        [string] $Text,
        [string] $TypeName
    )

    if (-not $Text.Trim()) {
        return
    }
    foreach ($item in @(ConvertFrom-Json -InputObject $Text)) {
        # Older versions give an array as one object.
        foreach ($one in @($item)) {
            ConvertTo-Record -InputObject $one -TypeName $TypeName
        }
    }
}

function Write-ProgramNote {
    # What the program said from a line on; all of it is shown with -Verbose.
    param(
        [string] $Text,
        [string] $From
    )

    Write-Verbose $Text
    $at = $Text.IndexOf($From, [StringComparison]::Ordinal)
    if ($at -ge 0) {
        Write-Host $Text.Substring($at)
    }
}

function ConvertTo-PlainText {
    # A credential as text, from what was given.
    param($Credential)

    if ($Credential -is [securestring]) {
        return [Net.NetworkCredential]::new('', $Credential).Password
    }
    return [string] $Credential
}

function Get-PreviewArgument {
    # The arguments of a consent, apart from how it is agreed to.
    param($Bound)

    $arguments = @('enable', '--access-level', $Bound['AccessLevel'])
    if ($Bound.ContainsKey('ExpireInMinutes')) {
        $arguments += @('--expire-in-minutes', [string] $Bound['ExpireInMinutes'])
    }
    if ($Bound.ContainsKey('SupportRequest')) {
        $arguments += @('--support-request', $Bound['SupportRequest'])
    }
    if ($Bound.ContainsKey('RequireApproval')) {
        $arguments += @('--require-approval', $Bound['RequireApproval'])
    }
    if ($Bound.ContainsKey('StrictReadOnly')) {
        $arguments += "--strict-read-only=$(([string] [bool] $Bound['StrictReadOnly']).ToLowerInvariant())"
    }
    if ($Bound.ContainsKey('SasCredential')) {
        $arguments += @('--sas-credential-file', '-')
    }
    return $arguments
}

<#
.SYNOPSIS
Gives consent to remote support: shows the terms and what the level permits, asks, and grants access for a limited time.

.DESCRIPTION
Without -AgreeToRemoteSupportConsent the terms and what the access level permits are shown and a question is asked. After No nothing is
changed and nothing is returned. With -WhatIf everything is checked, nothing is asked and nothing is granted.

.PARAMETER AccessLevel
What an engineer may do: Diagnostics or DiagnosticsRepair.

.PARAMETER ExpireInMinutes
Minutes until the access ends by itself, 60 to 20160. The default is 480, eight hours.

.PARAMETER SasCredential
The relay credential that support handed out, as a SecureString (better) or a string. It is passed to the program by standard input and
is never shown again.

.PARAMETER AgreeToRemoteSupportConsent
Agree to the terms without being asked.

.PARAMETER SupportRequest
Give access for this support request only: its 16-digit number, or the file with the desk's opening.

.PARAMETER RequireApproval
Which calls of an engineer wait for your answer: never, releases (before collected logs leave; the default) or changes.

.PARAMETER StrictReadOnly
Whether published commands that change state are taken out of Diagnostics. True by default.

.EXAMPLE
Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440

.EXAMPLE
Enable-RemoteSupport -AccessLevel DiagnosticsRepair -WhatIf

.OUTPUTS
RemoteSupport.Access
#>
function Enable-RemoteSupport {
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]
    [OutputType('RemoteSupport.Access')]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipelineByPropertyName = $true)]
        [ValidateSet('Diagnostics', 'DiagnosticsRepair')]
        [string] $AccessLevel,

        [Parameter(Position = 1, ValueFromPipelineByPropertyName = $true)]
        [ValidateRange(60, 20160)]
        [int] $ExpireInMinutes = 480,

        [Parameter(Position = 2)]
        [ValidateScript({ $_ -is [string] -or $_ -is [securestring] })]
        [object] $SasCredential,

        [switch] $AgreeToRemoteSupportConsent,

        [Parameter(ValueFromPipelineByPropertyName = $true)]
        [ValidateNotNullOrEmpty()]
        [string] $SupportRequest,

        [ValidateSet('never', 'releases', 'changes')]
        [string] $RequireApproval,

        [bool] $StrictReadOnly
    )

    process {
        $arguments = Get-PreviewArgument -Bound $PSBoundParameters
        $secret = ''
        if ($PSBoundParameters.ContainsKey('SasCredential')) {
            $secret = ConvertTo-PlainText -Credential $SasCredential
        }
        $run = Invoke-Program -Arguments ($arguments + '--dry-run') -InputText $secret
        if ($run.ExitCode -ne 0) {
            $PSCmdlet.ThrowTerminatingError((ConvertTo-ErrorRecord -Run $run))
        }
        $preview = ConvertFrom-Json -InputObject $run.Output
        $action = "Grant $($preview.accessLevel) for $($preview.minutes) minutes"
        if (-not $PSCmdlet.ShouldProcess('this node', $action)) {
            return
        }
        if ($null -ne $preview.deskToConfirm) {
            $desk = $preview.deskToConfirm
            $question = "Is this the desk that you asked? $($desk.name), key fingerprint $($desk.fingerprint)"
            if (-not $PSCmdlet.ShouldContinue($question, 'Support desk')) {
                return
            }
            $arguments += @('--desk-fingerprint', $desk.fingerprint)
        }
        if (-not $AgreeToRemoteSupportConsent) {
            Write-Host $preview.terms.text
            Write-Host $preview.permits
            if (-not $PSCmdlet.ShouldContinue('Proceed with enabling remote support?', 'Consent')) {
                return
            }
        }
        # The version that was shown is the one agreed to.
        $arguments += @('--agree-to-terms', $preview.terms.version)
        $run = Invoke-Program -Arguments $arguments -InputText $secret
        if ($run.ExitCode -ne 0) {
            $PSCmdlet.ThrowTerminatingError((ConvertTo-ErrorRecord -Run $run))
        }
        Write-ProgramNote -Text $run.Notes -From 'Enabling Remote Support for'
        ConvertFrom-Result -Text $run.Output -TypeName 'RemoteSupport.Access'
    }
}

<#
.SYNOPSIS
Revokes consent and ends all sessions; returns when they are down.

.DESCRIPTION
A success also where nothing was granted: Changed is False then.

.EXAMPLE
Disable-RemoteSupport

.OUTPUTS
RemoteSupport.Revocation
#>
function Disable-RemoteSupport {
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]
    [OutputType('RemoteSupport.Revocation')]
    param()

    process {
        if (-not $PSCmdlet.ShouldProcess('this node', 'Revoke remote support and end its sessions')) {
            return
        }
        $run = Invoke-Program -Arguments @('disable')
        if ($run.ExitCode -ne 0 -and $run.ExitCode -ne $script:ExitPartial) {
            $PSCmdlet.ThrowTerminatingError((ConvertTo-ErrorRecord -Run $run))
        }
        if ($run.ExitCode -eq $script:ExitPartial) {
            Write-Warning $run.Notes
        }
        else {
            Write-ProgramNote -Text $run.Notes -From 'Disabling Remote Support.'
        }
        ConvertFrom-Result -Text $run.Output -TypeName 'RemoteSupport.Revocation'
    }
}

<#
.SYNOPSIS
Lists consents that are in force.

.PARAMETER IncludeExpired
List also consents that ended in the last 30 days, expired or revoked.

.PARAMETER IncludeSessions
Add the sessions of each consent, as the property Sessions.

.PARAMETER Cluster
Accepted for scripts that name it; this node only is asked, and a warning says so.

.EXAMPLE
Get-RemoteSupportAccess -IncludeExpired

.OUTPUTS
RemoteSupport.Access
#>
function Get-RemoteSupportAccess {
    [CmdletBinding()]
    [OutputType('RemoteSupport.Access')]
    param(
        [switch] $Cluster,
        [switch] $IncludeExpired,
        [switch] $IncludeSessions
    )

    process {
        if ($Cluster) {
            Write-Warning 'Only this node is asked.'
        }
        $arguments = @('access')
        if ($IncludeExpired) {
            $arguments += '--include-expired'
        }
        $run = Invoke-Program -Arguments $arguments
        if ($run.ExitCode -ne 0) {
            $PSCmdlet.ThrowTerminatingError((ConvertTo-ErrorRecord -Run $run))
        }
        Write-Verbose $run.Notes
        $sessions = @()
        if ($IncludeSessions) {
            $sessions = @(Get-RemoteSupportSessionHistory -FromDate ([DateTime]::UtcNow.AddDays(-90)))
        }
        foreach ($access in @(ConvertFrom-Result -Text $run.Output -TypeName 'RemoteSupport.Access')) {
            if ($IncludeSessions) {
                $own = @($sessions | Where-Object -FilterScript { $_.GrantId -eq $access.Id })
                Add-Member -InputObject $access -NotePropertyName 'Sessions' -NotePropertyValue $own
            }
            $access
        }
    }
}

<#
.SYNOPSIS
Lists sessions and shows transcripts.

.PARAMETER SessionId
One session, however old it is. Without it the sessions since FromDate are listed.

.PARAMETER IncludeSessionTranscript
Add the whole transcript, as the property SessionTranscript.

.PARAMETER FromDate
Start of the list. The default is seven days ago; records are kept for 90 days.

.EXAMPLE
Get-RemoteSupportSessionHistory -FromDate (Get-Date).AddDays(-30)

.EXAMPLE
Get-RemoteSupportSessionHistory | Get-RemoteSupportSessionHistory -IncludeSessionTranscript

.OUTPUTS
RemoteSupport.Session
#>
function Get-RemoteSupportSessionHistory {
    [CmdletBinding()]
    [OutputType('RemoteSupport.Session')]
    param(
        [Parameter(Position = 0, ValueFromPipelineByPropertyName = $true)]
        [ValidateNotNullOrEmpty()]
        [string] $SessionId,

        [switch] $IncludeSessionTranscript,

        [DateTime] $FromDate = [DateTime]::Now.AddDays(-7)
    )

    process {
        $arguments = @('history')
        if ($PSBoundParameters.ContainsKey('SessionId')) {
            $arguments += @('--session-id', $SessionId)
        }
        else {
            $from = $FromDate.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
            $arguments += @('--from-date', $from)
        }
        if ($IncludeSessionTranscript) {
            $arguments += '--include-session-transcript'
        }
        $run = Invoke-Program -Arguments $arguments
        # What could be read is given, also where something else could not.
        ConvertFrom-Result -Text $run.Output -TypeName 'RemoteSupport.Session'
        if ($run.ExitCode -eq $script:ExitPartial) {
            Write-Warning $run.Notes
        }
        elseif ($run.ExitCode -ne 0) {
            $PSCmdlet.WriteError((ConvertTo-ErrorRecord -Run $run))
        }
        else {
            Write-Verbose $run.Notes
        }
    }
}

<#
.SYNOPSIS
Takes remote support out of service on this node: revokes first, then stops its service and keeps it from starting.

.DESCRIPTION
Records stay until they expire. The program itself is removed with the package that brought it.

.EXAMPLE
Remove-RemoteSupport -Confirm:$false

.OUTPUTS
RemoteSupport.Revocation
#>
function Remove-RemoteSupport {
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
    [OutputType('RemoteSupport.Revocation')]
    param()

    process {
        if (-not $PSCmdlet.ShouldProcess('this node', 'Revoke remote support and take its service out of use')) {
            return
        }
        Disable-RemoteSupport -Confirm:$false
        # There are services to stop on Windows only; elsewhere the package brings a unit.
        $service = $null
        if (Get-Command -Name 'Get-Service' -ErrorAction SilentlyContinue) {
            $service = Get-Service -Name 'RemoteSupportAgent' -ErrorAction SilentlyContinue
        }
        if ($null -ne $service) {
            Stop-Service -InputObject $service
            Set-Service -Name $service.Name -StartupType Disabled
        }
    }
}

Register-ArgumentCompleter -CommandName 'Get-RemoteSupportSessionHistory' -ParameterName 'SessionId' -ScriptBlock {
    param($commandName, $parameterName, $wordToComplete, $commandAst, $fakeBoundParameters)

    Get-RemoteSupportSessionHistory -FromDate ([DateTime]::UtcNow.AddDays(-90)) -ErrorAction SilentlyContinue -WarningAction SilentlyContinue |
        Where-Object -FilterScript { ([string] $_.SessionId).StartsWith($wordToComplete) } |
        ForEach-Object -Process {
            $about = "$($_.SessionStartTime) $($_.Engineer)"
            [Management.Automation.CompletionResult]::new($_.SessionId, $_.SessionId, 'ParameterValue', $about)
        }
}

# The nine public fields, in their public order.
Update-TypeData -Force -TypeName 'RemoteSupport.Access' -DefaultDisplayPropertySet @(
    'State', 'CreatedAt', 'UpdatedAt', 'ConnectionStatus', 'ConnectionErrorMessage', 'TargetService', 'AccessLevel', 'ExpiresAt', 'SasCredential'
)
Update-TypeData -Force -TypeName 'RemoteSupport.Session' -DefaultDisplayPropertySet @(
    'SessionId', 'State', 'SessionStartTime', 'SessionEndTime', 'AccessLevel', 'Engineer', 'SupportRequest', 'EndCause'
)
Update-TypeData -Force -TypeName 'RemoteSupport.Session' -MemberType AliasProperty -MemberName 'SessionTranscriptContent' -Value 'SessionTranscript'

Set-Alias -Name 'Enable-AzStackHCIRemoteSupport' -Value 'Enable-RemoteSupport'
Set-Alias -Name 'Disable-AzStackHCIRemoteSupport' -Value 'Disable-RemoteSupport'
Set-Alias -Name 'Get-AzStackHCIRemoteSupportAccess' -Value 'Get-RemoteSupportAccess'
Set-Alias -Name 'Get-AzStackHCIRemoteSupportSessionHistory' -Value 'Get-RemoteSupportSessionHistory'
Set-Alias -Name 'Remove-AzStackHCIRemoteSupport' -Value 'Remove-RemoteSupport'

Export-ModuleMember -Function @(
    'Enable-RemoteSupport'
    'Disable-RemoteSupport'
    'Get-RemoteSupportAccess'
    'Get-RemoteSupportSessionHistory'
    'Remove-RemoteSupport'
) -Alias @(
    'Enable-AzStackHCIRemoteSupport'
    'Disable-AzStackHCIRemoteSupport'
    'Get-AzStackHCIRemoteSupportAccess'
    'Get-AzStackHCIRemoteSupportSessionHistory'
    'Remove-AzStackHCIRemoteSupport'
)
